"""What came from the internet and what was given to machines of the lab, over all restarts."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from workers.cache.files import write_whole


class Count:
    """Counts bytes, from many threads. ``since`` is in seconds since 1970.

    ``saved_bytes`` were given of files that had been given once before: without the cache, each
    machine would have downloaded them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        told = _read(path)
        self.upstream_bytes = _number(told, "upstream_bytes")
        self.given_bytes = _number(told, "given_bytes")
        self.saved_bytes = _number(told, "saved_bytes")
        self.since = float(_number(told, "since")) or time.time()
        of = told.get("given_of")
        self._given_of = {str(k): int(v) for k, v in of.items()} if isinstance(of, dict) else {}
        self._saved: dict[str, Any] = {}

    def begins(self, digest: str) -> None:
        """Count a file anew that is fetched from its first byte: it was given to nobody yet."""
        with self._lock:
            self._given_of.pop(digest, None)

    def came(self, so_many: int) -> None:
        """Count bytes from the internet."""
        with self._lock:
            self.upstream_bytes += so_many

    def gave(self, digest: str, size_bytes: int, so_many: int) -> None:
        """Count bytes of a file that a machine of the lab got."""
        with self._lock:
            before = self._given_of.get(digest, 0)
            self._given_of[digest] = before + so_many
            self.given_bytes += so_many
            self.saved_bytes += max(0, before + so_many - max(before, size_bytes))

    def save(self) -> None:
        """Write down what changed. Raises ``OSError``."""
        with self._lock:
            told = {
                "upstream_bytes": self.upstream_bytes,
                "given_bytes": self.given_bytes,
                "saved_bytes": self.saved_bytes,
                "since": int(self.since),
                "given_of": dict(self._given_of),
            }
        if told != self._saved:
            write_whole(self._path, json.dumps(told).encode())
            self._saved = told


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _number(told: dict[str, Any], name: str) -> int:
    found = told.get(name)
    return found if isinstance(found, int) and found >= 0 else 0
