"""Readings that may block, each in a thread of its own, so that none delays the others."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken[T]:
    """A reading and when it was complete, by the monotonic clock."""

    value: T
    at: float

    @property
    def age_s(self) -> float:
        """Seconds since the reading."""
        return time.monotonic() - self.at


class Probe[T]:
    """Calls ``read`` when asked, and keeps the newest answer."""

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self._read = read
        self._name = name
        self._wanted = threading.Event()
        self._stopped = False
        self._changed = threading.Condition()
        self._newest: Taken[T] | None = None
        self._before: Taken[T] | None = None
        # A daemon: a call that hangs in a driver must not keep the process from ending.
        threading.Thread(target=self._run, name=f"probe-{name}", daemon=True).start()

    def ask(self) -> None:
        """Want a new reading; nothing more happens while one is under way."""
        self._before = self._newest
        self._wanted.set()

    def newest(self, *, wait_s: float = 0.0) -> Taken[T] | None:
        """Return the newest reading, waiting at most ``wait_s`` for the one asked for."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not self._before, timeout=wait_s)
            return self._newest

    def stop(self) -> None:
        """Let the thread end after the reading that is under way."""
        self._stopped = True
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopped:
                return
            self._once()

    def _once(self) -> None:
        try:
            value = self._read()
        except Exception:  # a fault of ours in one reading must not end all later ones
            log.exception("reading failed probe=%s", self._name)
            return
        with self._changed:
            self._newest = Taken(value, time.monotonic())
            self._changed.notify_all()
