"""One process that the supervisor keeps alive."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labdash.env import ROOT
from labdash.runner import logs
from labdash.runner.groups import signal_group

BACKOFF_MAX_S = 30
# A child that ran so long was well: its next failure is a first one.
HEALTHY_S = 60


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. ``last`` ends after all others: they still speak to it while they end.

    ``wanted`` is a file: the process runs only while that exists.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    sockets: tuple[int, ...] = ()
    last: bool = False
    wanted: Path | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether it shall run now."""
        return self.wanted is None or self.wanted.exists()

    def log(self, folder: Path) -> Path:
        """Return where its output goes."""
        return folder / f"{self.name.replace(' ', '-')}.log"


def spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to ``log``."""
    logs.trim(log)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - only commands of labdash.runner.commands
            command.argv,
            cwd=ROOT,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=command.sockets,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


@dataclass(kw_only=True)
class Child:
    """A command and its present process. Times are of a monotonic clock, in seconds."""

    command: Command
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    starts_again_at: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)

    def start(self, now: float) -> int:
        """Start the process and return its group; ``OSError`` when the system does not let it."""
        self.process = spawn(self.command, self.log)
        self.started_at = now
        return self.process.pid

    def has_ended(self) -> bool:
        """Tell whether the process ended; it is not yet waited for, so that its number is its."""
        if self.process is None:
            return False
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, options) is not None

    def bury(self, now: float) -> tuple[int, float]:
        """Kill what an ended process left in its group; return its exit code and the pause."""
        if self.process is None:
            raise RuntimeError(f"{self.command.name} does not run")
        signal_group(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self.process = None
        if now - self.started_at >= HEALTHY_S:
            self.failures = 0
        return code, self.put_off(now)

    def dismiss(self) -> int:
        """Wait for a process that was asked to end; return its group. A next start is a first."""
        if self.process is None:
            raise RuntimeError(f"{self.command.name} does not run")
        group = self.process.pid
        self.process.wait()
        self.process = None
        self.failures, self.starts_again_at = 0, 0.0
        return group

    def put_off(self, now: float) -> float:
        """Count a failure and return the pause until the next start."""
        self.failures += 1
        pause_s: float = min(2 ** (self.failures - 1), BACKOFF_MAX_S)
        self.starts_again_at = now + pause_s
        return pause_s


def describe_exit(code: int) -> str:
    """Say how a process ended."""
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
