"""Remains of a download that was broken off when Ollama was stopped, and cannot go on.

Ollama writes how far a part is into ``blobs/sha256-<hex>-partial-<n>``; a stop at the wrong moment
leaves such a file empty, and then every later pull of that blob ends with ``EOF`` (seen on
0.33.0-rc2). It is cured by deleting what there is of that blob's download.
"""

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

_PART = re.compile(r"sha256-[0-9a-f]{64}-partial-\d+")
# Of a download that runs, a part is empty only while it is written.
OLD_AFTER_S = 5.0


def clear_spoiled(store: Path) -> int:
    """Delete the parts of downloads of which one has long been empty; return of how many.

    Raises ``OSError`` where that is not allowed here.
    """
    files = _files(store / "blobs")
    old_before = time.time() - OLD_AFTER_S
    spoiled = {
        path.name.partition("-partial")[0]
        for path, found in files.items()
        if _is_empty_part(path, found) and found.st_mtime < old_before
    }
    for path in files:
        if path.name.partition("-partial")[0] in spoiled and "-partial" in path.name:
            path.unlink(missing_ok=True)
    return len(spoiled)


def may_be_spoiled(store: Path) -> bool:
    """Tell whether a part is empty, for however short a time. Raises ``OSError``."""
    return any(_is_empty_part(path, found) for path, found in _files(store / "blobs").items())


def _is_empty_part(path: Path, found: os.stat_result) -> bool:
    return not found.st_size and _PART.fullmatch(path.name) is not None


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """Describe the files of a folder but those that go in this moment."""
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found[path] = path.lstat()
    return {path: each for path, each in found.items() if stat.S_ISREG(each.st_mode)}
