"""What processes weigh and use, from ``/proc``."""

import os
import statistics
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MIB, GIB = 2**20, 2**30


def memory_bytes(pid: int, kind: str = "Pss") -> int:
    """Return a process's memory: ``Pss`` splits what is shared, ``Rss`` is what it takes alone."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(kind)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its threads, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def median_and_p95(values: Iterable[float]) -> tuple[float, float]:
    """Return both of a list of more than one."""
    sorted_values = list(values)
    return statistics.median(sorted_values), statistics.quantiles(sorted_values, n=20)[-1]
