"""What every source of hardware readings offers."""

from dataclasses import dataclass
from typing import Protocol

from workers.wire import DiskReading, DriverReading, GpuReading, HostReading


@dataclass(frozen=True, kw_only=True)
class HardwareReading:
    """Driver, GPUs and host of one machine at one moment."""

    driver: DriverReading
    gpus: tuple[GpuReading, ...]
    host: HostReading
    disk: DiskReading | None = None


class HardwareSource(Protocol):
    """Reads one machine. ``read`` does not raise: what fails is a state of what it failed for."""

    def read(self) -> HardwareReading: ...
