"""Which source tells of a node's hardware."""

from workers.gpus.amdgpu import AmdgpuSource
from workers.gpus.base import HardwareReading, HardwareSource
from workers.gpus.declared import DeclaredSource
from workers.gpus.host import Host
from workers.gpus.nvml import NvmlSource
from workers.gpus.pci import nvidia_cards
from workers.gpus.processes import BlobNames
from workers.gpus.simulated import SimulatedSource
from workers.wire import DriverReading, NodeSpec


class ThisMachine:
    """The machine that the worker runs on: NVIDIA and AMD GPUs, RAM and load."""

    def __init__(self, names: BlobNames) -> None:
        self._nvml = NvmlSource(names)
        self._amdgpu = AmdgpuSource(names)
        self._host = Host()

    def read(self) -> HardwareReading:
        """Read everything; NVIDIA's driver speaks for a machine that has one of its cards."""
        driver, gpus = self._nvml.read()
        amd_driver, amd_gpus = self._amdgpu.read()
        if driver.state == "missing":
            driver = without_nvidia(
                driver, amd=amd_driver if amd_gpus else None, cards=nvidia_cards()
            )
        first = len(gpus)
        amd_gpus = tuple(gpu.model_copy(update={"index": first + gpu.index}) for gpu in amd_gpus)
        return HardwareReading(driver=driver, gpus=gpus + amd_gpus, host=self._host.read())


def without_nvidia(
    driver: DriverReading, *, amd: DriverReading | None, cards: int | None
) -> DriverReading:
    """Return what to say where NVIDIA's driver is missing, and ``cards`` of its cards are not."""
    if amd is not None and not cards:
        return amd
    return driver.model_copy(update={"cards_seen": cards})


def choose_source(spec: NodeSpec, *, simulated_url: str | None, names: BlobNames) -> HardwareSource:
    """Return what a node's hardware is read from: its declaration, a simulation or the machine."""
    if spec.declared is not None:
        return DeclaredSource(spec.declared, slug=spec.slug)
    if simulated_url is not None:
        return SimulatedSource(simulated_url)
    return ThisMachine(names)
