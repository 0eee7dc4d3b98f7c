"""Log files of the children: one each, bounded."""

import os
import shutil
from collections import deque
from pathlib import Path

LIMIT_BYTES = 5 * 2**20


def trim(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Keep a file that grew too long as ``<name>.1`` and empty it; who appends goes on.

    Where the disk has no room for the copy, room is worth more than old lines: both go.
    """
    if not path.is_file() or path.stat().st_size <= limit_bytes:
        return
    kept = path.with_name(f"{path.name}.1")
    try:
        shutil.copyfile(path, kept)
    except OSError:
        kept.unlink(missing_ok=True)
    os.truncate(path, 0)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines that say something."""
    if not path.is_file():
        return []
    with path.open(errors="replace") as lines:
        return list(deque((line.rstrip() for line in lines if line.strip()), maxlen=count))
