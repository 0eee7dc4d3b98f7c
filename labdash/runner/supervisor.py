"""Keeps the children alive until the end is asked for."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from labdash.runner import logs
from labdash.runner.child import Child, Command, describe_exit, spawn
from labdash.runner.errors import CannotStart, Stopped
from labdash.runner.groups import end_groups
from labdash.runner.guard import Guard

TICK_S = 0.2
TRIM_EVERY_S = 60
# Together under the 5 s within which Ctrl-C ends everything.
GRACE_S = 2.5
LAST_GRACE_S = 1.5
# From this failure in a row on, the user sees what the child said.
TELLING_FAILURES = 3
TOLD_LINES = 4


class Supervisor:
    """Starts children, starts them again when they end, and ends them all."""

    def __init__(self, *, logs_dir: Path, guard: Guard, say: Callable[[str], None]) -> None:
        """``say`` gets each line for the user."""
        self._logs_dir = logs_dir
        self._guard = guard
        self.say = say
        self._children: list[Child] = []
        self._asked_to_end = threading.Event()
        self._trimmed_at = time.monotonic()

    def end_on_signals(self) -> None:
        """Make Ctrl-C, SIGTERM and a closed terminal ask for the end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup: it shall outlive the terminal
            signal.signal(number, lambda *_: self._asked_to_end.set())

    def start(self, command: Command) -> None:
        """Start a child, once it is wanted, and keep it alive from now on."""
        child = Child(command=command, log=command.log(self._logs_dir))
        self._children.append(child)
        if command.is_wanted:
            self._start(child, time.monotonic())

    def pause(self, seconds: float) -> None:
        """Look after the children for a while; raises ``Stopped`` when the end is asked for."""
        deadline = time.monotonic() + seconds
        while True:
            self._look_after(time.monotonic())
            left = deadline - time.monotonic()
            if self._asked_to_end.wait(max(0.0, min(TICK_S, left))):
                raise Stopped
            if left <= TICK_S:
                return

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait for a condition; False when it did not come true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.pause(0.05)
        return True

    def run_once(self, command: Command, *, timeout_s: float) -> Path:
        """Run a command to its end and return the file with its output."""
        log = command.log(self._logs_dir)
        try:
            log.unlink(missing_ok=True)
            process = spawn(command, log)
        except OSError as error:
            raise CannotStart(f"{command.name} cannot be started ({_place(error)})") from error
        self._guard.add(process.pid)
        try:
            ended = self.wait_until(lambda: process.poll() is not None, timeout_s=timeout_s)
        finally:
            end_groups([process.pid], grace_s=1)
            process.wait()
            self._guard.remove(process.pid)
        if not ended:
            raise CannotStart(f"{command.name} did not end within {timeout_s} s: see {log}")
        if process.returncode:
            raise CannotStart(_reason(command, log, process.returncode))
        return log

    def run(self) -> None:
        """Look after the children until the end is asked for."""
        while True:
            self.pause(TICK_S)

    def end(self) -> None:
        """End all children, those that the others speak to last."""
        running = [child for child in self._children if child.process]
        for last, grace_s in ((False, GRACE_S), (True, LAST_GRACE_S)):
            groups = [c.process.pid for c in running if c.process and c.command.last is last]
            end_groups(groups, grace_s=grace_s)
            for group in groups:
                self._guard.remove(group)
        for child in running:
            if child.process:
                child.process.wait()
        self._guard.close()

    def _look_after(self, now: float) -> None:
        for child in self._children:
            if child.process is None:
                if now >= child.starts_again_at and child.command.is_wanted:
                    self._start(child, now)
            elif not child.command.is_wanted:
                self._dismiss(child)
            elif child.has_ended():
                self._tell_and_bury(child, now)
        if now - self._trimmed_at > TRIM_EVERY_S:
            self._trimmed_at = now
            self._trim()

    def _start(self, child: Child, now: float) -> None:
        """Start a child; a full disk or too many processes are a failure like its own."""
        try:
            group = child.start(now)
        except OSError as error:
            pause_s = child.put_off(now)
            self.say(
                f"{child.command.name} cannot be started ({_place(error)}); "
                f"trying again in {pause_s} s"
            )
        else:
            self._guard.add(group)

    def _dismiss(self, child: Child) -> None:
        """End a child that is wanted no more."""
        if child.process:
            end_groups([child.process.pid], grace_s=GRACE_S)
            self._guard.remove(child.dismiss())

    def _trim(self) -> None:
        for child in self._children:
            try:
                logs.trim(child.log)
            except OSError as error:
                self.say(f"a log cannot be kept short ({_place(error)})")

    def _tell_and_bury(self, child: Child, now: float) -> None:
        group = child.process.pid if child.process else 0
        code, pause_s = child.bury(now)
        self._guard.remove(group)
        self.say(
            f"{child.command.name} ended ({describe_exit(code)}); starting again in {pause_s} s"
        )
        if child.failures == TELLING_FAILURES:
            for line in logs.last_lines(child.log, TOLD_LINES):
                self.say(f"  | {line}")
            self.say(f"  | all of it: {child.log}")


def _place(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _reason(command: Command, log: Path, code: int) -> str:
    last = logs.last_lines(log, 1)
    if last and last[0].startswith("labdash: "):
        return last[0].removeprefix("labdash: ")
    said = f": {last[0]}" if last else ""
    return f"{command.name} failed ({describe_exit(code)}){said} (all of it: {log})"
