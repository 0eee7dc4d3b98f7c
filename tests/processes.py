"""What tests that start programs need to know of the machine."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

# Generous: the machine may be busy with other tests.
PATIENCE_S = 120


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; False when it did not come true."""
    began = time.monotonic()
    deadline = began + PATIENCE_S
    while not condition():
        now = time.monotonic()
        if now > deadline:
            return False
        time.sleep(pause_after(now - began))
        began = time.monotonic()
    return True


def pause_after(took_s: float) -> float:
    """Return how long to wait before what took so long is asked again.

    A page or a command that is asked without end would slow down what it waits for: it is asked
    for a quarter of the time, or half of it where it is slow.
    """
    return max(0.05, took_s, min(3 * took_s, 0.5))


def processes_of(folder: Path) -> dict[int, str]:
    """Return the living processes that log into a data folder, with the name of their log."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            output = (entry / "fd" / "1").readlink() if entry.name.isdecimal() else None
        except OSError:
            continue  # it ended, or it is a zombie
        if output and output.is_relative_to(folder / "log"):
            found[int(entry.name)] = output.stem
    return found
