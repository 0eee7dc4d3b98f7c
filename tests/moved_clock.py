"""A clock that a test moves while a whole lab runs by it."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from labdash.env import ROOT

SOURCE = ROOT / "tests/fixtures/clock/clock.c"


def build(folder: Path) -> Path:
    """Compile the library that sets clocks off."""
    target = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(target), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)  # noqa: S603 - the compiler on a file of ours
    return target


@dataclass
class MovedClock:
    """How far the clock of all processes with its ``environment`` is off."""

    library: Path
    file: Path
    off_s: int = 0

    @classmethod
    def make(cls, folder: Path) -> "MovedClock":
        """Build one that is not off yet."""
        clock = cls(build(folder), folder / "clock-off")
        clock.file.write_bytes(_binary(0))
        return clock

    @property
    def environment(self) -> dict[str, str]:
        """Return what a process, and all that it starts, is to be started with."""
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFF_FILE": str(self.file)}

    @property
    def now(self) -> datetime:
        """Return what that clock shows."""
        return datetime.now(UTC) + timedelta(seconds=self.off_s)

    def move_to(self, moment: datetime) -> None:
        """Let it show another moment, for all at once."""
        self.off_s = round((moment - datetime.now(UTC)).total_seconds())
        with self.file.open("r+b") as file:
            file.write(_binary(self.off_s))


def _binary(seconds: int) -> bytes:
    return seconds.to_bytes(8, sys.byteorder, signed=True)
