"""A running ``deploy/up``, and a browser's essentials to speak to it."""

import http.client
import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from labdash.env import ROOT
from tests.processes import PATIENCE_S, eventually, free_port

# Nothing listens there: a hub of the tests asks nothing of the internet.
NOWHERE = "http://127.0.0.1:9"
OURS = ("LABDASH_", "REDIS_URL", "DATABASE_URL", "OLLAMA_HOST", "PYTEST_")


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Return this environment without the tests' own settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    ours = {"LABDASH_DATA_DIR": str(data_dir), "LABDASH_REGISTRY_URL": NOWHERE}
    return inherited | ours | more


def run_up(data_dir: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run ``deploy/up`` where it is to end by itself."""
    return subprocess.run(  # noqa: S603 - our own script
        [str(ROOT / "deploy" / "up"), *arguments],
        env=environment(data_dir, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@dataclass
class Running:
    """One ``deploy/up`` and the file that holds what it said."""

    process: "subprocess.Popen[bytes]"
    output: Path
    port: int

    @classmethod
    def start(cls, data_dir: Path, *arguments: str, **more: str) -> "Running":
        """Start it on a free port."""
        port, output = free_port(), data_dir.parent / f"up-{data_dir.name}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own script
                [str(ROOT / "deploy" / "up"), "--port", str(port), *arguments],
                env=environment(data_dir, **more),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, output, port)

    def said(self) -> str:
        """Return what it printed so far."""
        return self.output.read_text()

    def wait(self) -> None:
        """Wait until it says that it runs."""
        ready = eventually(
            lambda: "LabDash runs." in self.said() or self.process.poll() is not None
        )
        assert ready, self.said()
        assert self.process.poll() is None, self.said()

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@dataclass
class Visitor:
    """Somebody with a cookie jar."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return the status and the page, or the place that it sends to."""
        return self._request("GET", path, None, **headers)

    def post(self, path: str, *, to: str = "", **fields: str | list[str]) -> tuple[int, str]:
        """Fill the form of a page and send it, to the page itself where nothing else is said."""
        _, page = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token, page
        return self._request("POST", to or path, {"csrfmiddlewaretoken": token[1], **fields})

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the pages."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def headers(self) -> dict[str, str]:
        """Return what is said with each request."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    def _request(
        self, method: str, path: str, fields: dict[str, str | list[str]] | None, **more: str
    ) -> tuple[int, str]:
        connection, headers = self.connect(), self.headers() | more
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(fields, doseq=True) if fields else None, headers)
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        page = answer.read().decode()
        connection.close()
        return answer.status, answer.headers.get("Location") or page
