"""The file in the data folder that holds the lab's own entries of the catalog."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from labdash.catalog.entries import read_entries
from labdash.catalog.own import Row, take, watch
from labdash.planner.errors import PlannerError

NAME = "catalog.jsonl"
LONGEST_BYTES = 16 << 20
# Plans ask for models thousands of times a second, and each look costs as much as the answer.
LOOK_EACH_S = 0.1


@dataclass(kw_only=True)
class _Seen:
    """The file as it was last read: its path, what tells it from another, what ails it."""

    path: Path | None = None
    stamp: tuple[int, ...] | None = None
    looked_at_s: float = 0.0
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


_seen = _Seen()


def follow(folder: Path) -> None:
    """Use the entries of a data folder from now on, and each change of them as it comes."""
    _seen.path, _seen.stamp, _seen.looked_at_s = folder / NAME, None, 0.0
    watch(_look)


def entries_path() -> Path:
    """Return where the entries lie, whether or not there are any."""
    if _seen.path is None:
        raise PlannerError("no data folder was named")
    return _seen.path


def entries_trouble() -> str:
    """Say why the entries in the file are not used, nothing where they are."""
    look_now()
    return _seen.trouble


def read_own(path: Path) -> tuple[Row, ...]:
    """Read the entries of a file, none where there is none. Raises ``PlannerError``."""
    try:
        if path.stat().st_size > LONGEST_BYTES:
            raise PlannerError(f"{path} is too large for a catalog")
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PlannerError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlannerError(f"{path} is no text in UTF-8") from None
    return read_entries(text) if text.strip() else ()


def look_now() -> None:
    """Take what the file says at this moment."""
    path = entries_path()
    _seen.looked_at_s = monotonic()
    stamp = _stamp(path)
    if stamp != _seen.stamp:
        _read_again(path, stamp)


def _look() -> None:
    if monotonic() - _seen.looked_at_s >= LOOK_EACH_S:
        look_now()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read_again(path: Path, stamp: tuple[int, ...]) -> None:
    """Take what the file says now. One that is damaged leaves what held before."""
    with _seen.lock:
        if stamp == _seen.stamp:
            return
        try:
            take(read_own(path))
            _seen.trouble = ""
        except PlannerError as error:
            _seen.trouble = str(error)
        _seen.stamp = stamp
