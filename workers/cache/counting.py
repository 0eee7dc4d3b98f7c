"""What came from the internet and what was given to machines of the lab, over all restarts."""

import json
import threading
import time
from pathlib import Path

from workers.cache.files import write_whole

_NAMES = ("upstream_bytes", "given_bytes", "since")


class Count:
    """Counts bytes, from many threads. ``since`` is in seconds since 1970."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.upstream_bytes, self.given_bytes, self.since = _read(path)
        self._saved = (self.upstream_bytes, self.given_bytes)

    def came(self, so_many: int) -> None:
        """Count bytes from the internet."""
        with self._lock:
            self.upstream_bytes += so_many

    def gave(self, so_many: int) -> None:
        """Count bytes that a machine of the lab got."""
        with self._lock:
            self.given_bytes += so_many

    def save(self) -> None:
        """Write down what changed. Raises ``OSError``."""
        counted = (self.upstream_bytes, self.given_bytes)
        if counted != self._saved:
            told = dict(zip(_NAMES, (*counted, self.since), strict=True))
            write_whole(self._path, json.dumps(told).encode())
            self._saved = counted


def _read(path: Path) -> tuple[int, int, float]:
    try:
        told = json.loads(path.read_bytes())
        upstream, given, since = (told[name] for name in _NAMES)
        return int(upstream), int(given), float(since)
    except (OSError, ValueError, TypeError, KeyError):
        return 0, 0, time.time()
