"""A simulated lab as a process of its own, for the tests that speak to it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_TIMEOUT_S, END_TIMEOUT_S = 30, 10


@dataclass(kw_only=True)
class Running:
    """A lab that runs; ``described`` is its ready file."""

    process: subprocess.Popen[bytes]
    described: dict[str, Any]

    @property
    def control_url(self) -> str:
        return str(self.described["control_url"])

    def ollama_url(self, slug: str) -> str:
        return str(self.machine(slug)["ollama_urls"][0])

    def machine(self, slug: str) -> dict[str, Any]:
        return next(each for each in self.described["machines"] if each["slug"] == slug)

    def end(self) -> int:
        """Send SIGTERM and give the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=END_TIMEOUT_S)


@contextmanager
def running_lab(folder: Path, *options: str) -> Iterator[Running]:
    """Start a lab that keeps its state under ``folder``, and end it."""
    folder.mkdir(exist_ok=True)
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "workers.simlab", "--state-dir", str(folder / "state")]
    process = subprocess.Popen([*command, "--ready-file", str(ready), *options])  # noqa: S603 - ours
    try:
        yield Running(process=process, described=_described(process, ready))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=END_TIMEOUT_S)


def _described(process: "subprocess.Popen[bytes]", ready: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the simulated lab did not start")
        time.sleep(0.05)
    described: dict[str, Any] = json.loads(ready.read_text())
    return described
