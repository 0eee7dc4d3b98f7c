"""Hardware that nobody can measure, as its owner described it."""

from workers.gpus.base import HardwareReading
from workers.wire import DeclaredHardware, DriverReading, GpuReading, HostReading


class DeclaredSource:
    """Repeats what was declared of an agentless node; what is in use stays unknown."""

    def __init__(self, declared: DeclaredHardware, *, slug: str) -> None:
        self._reading = HardwareReading(
            driver=DriverReading(state="none"),
            gpus=tuple(
                GpuReading(
                    uuid=f"declared-{slug}-{index}",
                    index=index,
                    name=gpu.name,
                    source="declared",
                    unified=gpu.unified,
                    memory_total_bytes=gpu.memory_total_bytes,
                )
                for index, gpu in enumerate(declared.gpus)
            ),
            host=HostReading(ram_total_bytes=declared.ram_total_bytes),
        )

    def read(self) -> HardwareReading:
        """Return the declaration."""
        return self._reading
