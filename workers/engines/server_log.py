"""The last lines of a server's own log: the journal, a file, or why neither can be read.

What is read follows from the process that listens on the server's port; no order names a path.
"""

import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workers.engines.log_secrets import without_secrets
from workers.engines.place import Place, Simulated, server_pid
from workers.wire.loads import MOST_LOG_LINES

# Requests and details are left out afterwards, so more is read than is shown.
READ_LINES = 600
READ_BYTES = 128 * 1024
JOURNAL_S = 5.0
_UNIT = re.compile(r"/([A-Za-z0-9@_.:\\-]+\.service)(?=/|$)")
_HOMES = ("~/.ollama/logs/server.log", "~/AppData/Local/Ollama/server.log")


@dataclass(frozen=True, kw_only=True)
class LogTail:
    """Lines, or a ``note`` that says why there are none and what to do."""

    lines: tuple[str, ...] = ()
    note: str | None = None


class _Unreadable(Exception):  # noqa: N818 - named for the state; the text is for the owner
    pass


def read_log(place: Place, url: str) -> LogTail:
    """Return the last lines of a server's log, without secrets; never raises."""
    try:
        lines = without_secrets(_read(place, url), most=MOST_LOG_LINES)
    except _Unreadable as error:
        return LogTail(note=f"Log not readable: {error}")
    except (OSError, ValueError) as error:
        return LogTail(note=f"Log not readable: {error}.")
    return LogTail(lines=lines, note=None if lines else "The log says nothing about it.")


def _read(place: Place, url: str) -> list[str]:
    if isinstance(place, Simulated):
        return place.log()
    home = place.look().home
    if home == "remote":
        raise _Unreadable("the server runs on another machine. Look there: journalctl -u ollama")
    pid = server_pid(url)
    if home == "container" or (pid is None and home is None):
        raise _Unreadable("the server runs in a container. Look there: docker logs CONTAINER")
    return _own_file(pid) if sys.platform != "linux" or pid is None else _of_process(pid)


def _of_process(pid: int) -> list[str]:
    """Read what a process of this machine writes: to a file, else by its unit in the journal."""
    if lines := _redirected(pid):
        return lines
    unit = unit_of(Path(f"/proc/{pid}/cgroup").read_text())
    return read_journal(unit[0], is_users=unit[1]) if unit else _own_file(pid)


def unit_of(groups: str) -> tuple[str, bool] | None:
    """Return the systemd unit of a ``/proc/<pid>/cgroup``, and whether it is a user's own."""
    path = groups.strip().rpartition(":")[2]
    names = [name for name in _UNIT.findall(path) if not name.startswith("user@")]
    return (names[-1], "/user@" in path) if names else None


def read_journal(unit: str, *, is_users: bool) -> list[str]:
    """Ask the journal for a unit's last lines."""
    which = "--user-unit" if is_users else "--unit"
    command = ["journalctl", f"{which}={unit}", f"--lines={READ_LINES}", "--output=cat"]
    try:
        ended = subprocess.run(  # noqa: S603 - no shell, and the unit is one of the kernel's
            [*command, "--no-pager", "--quiet"], capture_output=True, timeout=JOURNAL_S, check=False
        )
    except FileNotFoundError:
        raise _Unreadable(f"{unit} writes to a journal, and journalctl is not here.") from None
    except subprocess.TimeoutExpired:
        raise _Unreadable(f"the journal gave no answer within {JOURNAL_S:.0f} s.") from None
    lines = ended.stdout[-READ_BYTES:].decode(errors="replace").splitlines()
    if not lines:
        raise _Unreadable(
            f"this worker may not read the journal of {unit}. Add its user to the group"
            " systemd-journal and start the worker again."
        )
    return lines


def _redirected(pid: int) -> list[str]:
    """Read the regular file that a process writes its output to, if it does."""
    for number in (2, 1):
        try:
            lines = read_tail(Path(f"/proc/{pid}/fd/{number}"))
        except PermissionError:
            return []
        except (OSError, _Unreadable):
            continue
        if lines:
            return lines
    return []


def _own_file(pid: int | None) -> list[str]:
    """Read the file of Ollama's desktop application."""
    for name in _HOMES:
        try:
            return read_tail(Path(name).expanduser())
        except (OSError, RuntimeError, _Unreadable):
            continue
    if pid is None:
        raise _Unreadable(
            "whose process the server is, only root may see. See: journalctl -u ollama"
        )
    raise _Unreadable("the server writes it to a terminal or to another program.")


def read_tail(path: Path) -> list[str]:
    """Return the last lines of a regular file. A pipe, a terminal or a device is none."""
    # A terminal must not become this worker's.
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    )
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise _Unreadable("it is no file.")
        file.seek(max(0, about.st_size - READ_BYTES))
        lines = file.read(READ_BYTES).decode(errors="replace").splitlines()
    is_cut = about.st_size > READ_BYTES
    return lines[1 if is_cut else 0 :][-READ_LINES:]
