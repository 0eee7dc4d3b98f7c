"""A small process that ends all children when the runner is killed without a chance to do it.

It reads ``+<group>`` and ``-<group>`` lines from the runner; the end of that pipe is the runner's
end. It holds the data folder's lock too, so that no second runner starts before it is done.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterable

from labdash.env import ROOT
from labdash.runner.groups import end_groups

GRACE_S = 4


def watch(lines: Iterable[str]) -> set[int]:
    """Follow the runner's lines to their end and return the groups that it left behind."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


class Guard:
    """The runner's end of the guard process, which is started again should it die."""

    def __init__(self, lock: int) -> None:
        """Start it; ``lock`` is the descriptor of the data folder's lock."""
        self._lock = lock
        self._groups: set[int] = set()
        self._process = self._start()

    def add(self, group: int) -> None:
        """Make it end this group too."""
        self._groups.add(group)
        self._say(f"+{group}")

    def remove(self, group: int) -> None:
        """Tell it that this group is gone."""
        self._groups.discard(group)
        self._say(f"-{group}")

    def close(self) -> None:
        """Let it end whatever was not removed, and wait for it."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=GRACE_S + 2)

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-S", "-m", "labdash.runner.guard"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[self._lock],
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def _drop_pipe(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def _say(self, line: str) -> None:
        # One that cannot be told, or started again, is told of all groups the next time.
        with contextlib.suppress(OSError):
            if self._process.poll() is not None:
                self._drop_pipe()
                self._process = self._start()
                line = "\n".join(f"+{group}" for group in self._groups)
            if self._process.stdin and line:
                self._process.stdin.write(f"{line}\n")


def main() -> None:
    """Watch until the runner is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_groups(watch(sys.stdin), grace_s=GRACE_S)


if __name__ == "__main__":
    main()
