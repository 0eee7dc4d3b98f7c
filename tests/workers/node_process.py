"""The real node worker as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from tests.processes import pause_after
from tests.workers.stores import OwnStore
from workers.config import broker_url
from workers.wire import PullProgress, orders_queue

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30


class Node:
    """A running node worker; ``log`` holds what it wrote."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """Return all that was written so far."""
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        """Wait until it takes orders."""
        wait_for(lambda: "ready." in self.log)

    def terminate(self) -> float:
        """Ask it to end; return the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)
        return time.monotonic() - began


def wait_for(condition: Callable[[], Any], seconds: float = WAIT_S) -> None:
    """Wait until something is true."""
    began = time.monotonic()
    deadline = began + seconds
    while not condition():
        now = time.monotonic()
        assert now < deadline
        # To read all reports takes longer with each of them.
        time.sleep(pause_after(now - began))
        began = time.monotonic()


@contextmanager
def node_process(slug: str, *, store_url: str, folder: Path, **environment: str) -> Iterator[Node]:
    """Run ``python -m workers`` for the length of a test."""
    log = folder / f"{slug}.log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with log.open("w") as out:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "workers", "--node", slug],
            cwd=ROOT,
            env={**kept, "REDIS_URL": store_url, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Node(process, log)
    finally:
        process.kill()
        process.wait()


class Hub:
    """Sends orders as the hub does, with all rights on the store."""

    def __init__(self, server: OwnStore) -> None:
        self._server = server
        self._app = Celery("hub", broker=broker_url(server.url), set_as_current=False)
        self._app.conf.update(task_serializer="json", task_ignore_result=True)

    def order(self, slug: str, task: str, fields: Any) -> None:
        """Put an order on a node's queue."""
        name = orders_queue(slug)
        queue = Queue(name, Exchange(name), routing_key=name)
        with self._app.connection_for_write() as connection:
            self._app.send_task(task, args=[fields], queue=queue, connection=connection)

    def pull(self, url: str, *, job_id: int = 1, slug: str = "rog", **fields: Any) -> None:
        """Order a pull."""
        order = {
            "node": slug,
            "job_id": job_id,
            "attempt": 1,
            "instance": "ollama",
            "instance_url": url,
            "model": "qwen3:8b",
            "deadline_s": 600.0,
        }
        self.order(slug, "workers.pull", order | fields)

    def said(self, job_id: int = 1, slug: str = "rog") -> list[PullProgress]:
        """Return what was reported about a job."""
        reports = self._server.reports(slug)
        return [r for r in reports if isinstance(r, PullProgress) and r.job_id == job_id]

    def wait_for_phase(self, phase: str, job_id: int = 1, slug: str = "rog") -> None:
        """Wait until a job was reported in a phase."""
        wait_for(lambda: phase in [report.phase for report in self.said(job_id, slug)])
