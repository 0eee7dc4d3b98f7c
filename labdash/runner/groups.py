"""Ending processes: each child leads a process group, and the group ends whole."""

import os
import signal
import time
from collections.abc import Iterable

POLL_S = 0.05


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to a group; False when nobody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def end_groups(groups: Iterable[int], *, grace_s: float) -> None:
    """Ask these groups to end and kill what is left after ``grace_s``.

    Dead members that nobody has waited for still count as left; for the caller's own children
    that is settled here.
    """
    left = [group for group in groups if signal_group(group, signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [group for group in left if not _is_gone(group)]
    for group in left:
        signal_group(group, signal.SIGKILL)


def _is_gone(group: int) -> bool:
    """Wait for what has ended among the caller's children, and tell whether the group is empty."""
    try:
        while os.waitpid(-group, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
