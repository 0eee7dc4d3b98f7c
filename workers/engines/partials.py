"""Remains of a download that was broken off when Ollama was stopped, and cannot go on.

Ollama writes how far a part is into ``blobs/sha256-<hex>-partial-<n>``; a stop at the wrong moment
leaves such a file empty, and then every later pull of that blob ends with ``EOF`` (seen on
0.33.0-rc2). It is cured by deleting what there is of that blob's download.
"""

import re
import stat
import time
from pathlib import Path

_PART = re.compile(r"sha256-[0-9a-f]{64}-partial-\d+")
# Of a download that runs, a part is empty only while it is written.
OLD_AFTER_S = 5.0


def clear_spoiled(store: Path) -> int:
    """Delete the parts of downloads of which one has long been empty; return of how many.

    Raises ``OSError`` where that is not allowed here.
    """
    blobs = store / "blobs"
    spoiled = {path.name.partition("-partial")[0] for path in _empty(blobs) if _is_old(path)}
    for path in _files(blobs):
        if path.name.partition("-partial")[0] in spoiled and "-partial" in path.name:
            path.unlink()
    return len(spoiled)


def may_be_spoiled(store: Path) -> bool:
    """Tell whether a part is empty, for however short a time. Raises ``OSError``."""
    return bool(_empty(store / "blobs"))


def _empty(blobs: Path) -> list[Path]:
    found = [path for path in _files(blobs) if _PART.fullmatch(path.name)]
    return [path for path in found if not path.lstat().st_size]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if stat.S_ISREG(path.lstat().st_mode)]


def _is_old(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > OLD_AFTER_S
