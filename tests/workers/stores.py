"""Stores of a test's own, which it may stop, freeze and start again."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.bootstrap import start_store
from workers import wire

if TYPE_CHECKING:
    import subprocess


class OwnStore:
    """A store on a socket; ``client`` reaches it while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder / 'store.sock'}?db=0"
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        self._process = start_store(self._folder)

    def reports(self, slug: str) -> list[wire.Report]:
        """Return all that a worker reported."""
        entries: Any = self.client.xrange(wire.reports_key(slug))
        return [wire.report_adapter.validate_json(fields["report"]) for _, fields in entries]

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            (self._folder / "store.sock").unlink(missing_ok=True)
            self._process = None

    def freeze(self) -> None:
        """Let it hang with all connections open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def own_store() -> Iterator[OwnStore]:
    """Run a store for the length of a test."""
    # Not pytest's folder: a socket's path holds 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="labdash-store-") as folder:
        store = OwnStore(Path(folder))
        try:
            yield store
        finally:
            store.client.close()
            store.stop()
