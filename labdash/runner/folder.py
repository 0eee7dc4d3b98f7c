"""The data folder: one runner at a time, and never a demo and a real lab in the same one."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labdash.env import BadSetting
from labdash.runner.errors import CannotStart

# What a runner that was killed left behind is ended within this time, and the lock is held so long.
LEFTOVERS_S = 8


@contextmanager
def hold(folder: Path, *, demo: bool) -> Iterator[int]:
    """Hold a data folder, made if absent; yields the lock's descriptor."""
    _make(folder)
    _check_kind(folder, demo=demo)
    for name in ("run", "log", "store"):
        (folder / name).mkdir(exist_ok=True)
        _check_writable(folder / name)
    descriptor = os.open(folder / "run" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, folder)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Tell whether LabDash runs for this data folder."""
    try:
        descriptor = os.open(folder / "run" / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"{folder} cannot be made: {error.strerror}") from error
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotStart(
            f"{folder} is not writable to you: it belongs to another user, or is read-only"
        )


def _check_kind(folder: Path, *, demo: bool) -> None:
    """Note whether a folder is the demo's, at its first use; refuse it to the other ever after."""
    path = folder / "kind"
    wanted = "demo" if demo else "lab"
    if path.is_file():
        kind = path.read_text().strip()
    else:
        # A database without the note was made by hand, with manage.py: a real lab's.
        kind = "lab" if (folder / "labdash.sqlite3").exists() else wanted
    if kind != wanted:
        raise BadSetting(
            f"{folder} holds {'the demo' if kind == 'demo' else 'a real lab'}: "
            "choose another folder with LABDASH_DATA_DIR"
        )
    path.write_text(f"{wanted}\n")


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LEFTOVERS_S
    while not _try_lock(descriptor):
        pid = os.pread(descriptor, 20, 0).decode()
        if _is_alive(pid) or time.monotonic() > deadline:
            raise CannotStart(f"LabDash already runs for {folder} (process {pid or 'unknown'})")
        time.sleep(0.1)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc", pid).is_dir()
