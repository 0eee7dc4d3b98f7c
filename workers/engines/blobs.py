"""Files of Ollama's model store, each named after the SHA-256 of what should be in it."""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Some milliseconds of reading, between which one may be told to stop.
_CHUNK_BYTES = 8 * 2**20


def find_damaged(
    store: Path, sizes_bytes: Mapping[str, int], *, is_wanted: Callable[[], bool]
) -> tuple[Path, ...] | None:
    """Return the files that are not what their name says, of the digests given with their sizes.

    ``None`` where that cannot be told, or is not wanted any more. Takes a second a gigabyte.
    """
    damaged = []
    for digest, size_bytes in sizes_bytes.items():
        if not _DIGEST.fullmatch(digest):
            return None
        path = store / "blobs" / digest.replace(":", "-")
        try:
            seen = _digest(path, is_wanted) if path.stat().st_size == size_bytes else ""
        except OSError:
            return None
        if seen is None:
            return None
        if seen != digest:
            damaged.append(path)
    return tuple(damaged)


def _digest(path: Path, is_wanted: Callable[[], bool]) -> str | None:
    found = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if not is_wanted():
                return None
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"
