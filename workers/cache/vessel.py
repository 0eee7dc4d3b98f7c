"""The file into which a blob arrives."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

_READ_BYTES = 2**20


class Digest(Protocol):
    """What tells the digest of the bytes that it was given."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Vessel:
    """A file of a size that is known; where nothing has arrived it takes no disk.

    Safe to use from many threads at different places. Raises ``OSError`` where the disk is full.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._number, size_bytes)

    def write(self, at: int, data: bytes) -> None:
        """Write bytes to their place."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._number, view, at)
            view, at = view[count:], at + count

    def read(self, at: int, count: int) -> bytes:
        """Read bytes that have arrived."""
        return os.pread(self._number, min(count, _READ_BYTES), at)

    def sync(self) -> None:
        """Return when all that was written would outlive a power cut."""
        os.fdatasync(self._number)

    def close(self) -> None:
        """Close the file."""
        os.close(self._number)

    def digest(self) -> Digest:
        """Return what counts the bytes' digest."""
        return hashlib.sha256()
