"""The machine around the GPUs: memory, processor and system, by psutil."""

import socket
import sys
from typing import Literal

import psutil

from workers.wire import HostReading

_SYSTEMS: dict[str, Literal["linux", "windows", "mac"]] = {
    "linux": "linux",
    "win32": "windows",
    "darwin": "mac",
}


class Host:
    """Reads this machine. Load is known from the second reading on: it needs an interval."""

    def __init__(self) -> None:
        self._has_interval = False

    def read(self) -> HostReading:
        """Read memory and load; used memory is what no program could get now."""
        memory = psutil.virtual_memory()
        return HostReading(
            hostname=socket.gethostname(),
            system=_SYSTEMS.get(sys.platform),
            ram_total_bytes=memory.total,
            ram_used_bytes=memory.total - memory.available,
            cpu_percent=self._cpu_percent(),
        )

    def _cpu_percent(self) -> float | None:
        percent = psutil.cpu_percent(interval=None)
        known, self._has_interval = self._has_interval, True
        return percent if known else None
