"""Which source tells of a node's hardware."""

from workers.gpus.amdgpu import AmdgpuSource
from workers.gpus.base import HardwareReading, HardwareSource
from workers.gpus.declared import DeclaredSource
from workers.gpus.host import Host
from workers.gpus.nvml import NvmlSource
from workers.gpus.pci import nvidia_cards
from workers.gpus.processes import BlobNames
from workers.gpus.simulated import SimulatedSource
from workers.wire import NodeSpec


class ThisMachine:
    """The machine that the worker runs on: NVIDIA and AMD GPUs, RAM and load."""

    def __init__(self, names: BlobNames) -> None:
        self._nvml = NvmlSource(names)
        self._amdgpu = AmdgpuSource()
        self._host = Host()

    def read(self) -> HardwareReading:
        """Read everything; where both drivers are, NVIDIA's speaks for the machine."""
        driver, gpus = self._nvml.read()
        amd_driver, amd_gpus = self._amdgpu.read()
        if amd_gpus and driver.state == "missing":
            driver = amd_driver
        if driver.state == "missing":
            driver = driver.model_copy(update={"cards_seen": nvidia_cards()})
        first = len(gpus)
        amd_gpus = tuple(gpu.model_copy(update={"index": first + gpu.index}) for gpu in amd_gpus)
        return HardwareReading(driver=driver, gpus=gpus + amd_gpus, host=self._host.read())


def choose_source(spec: NodeSpec, *, simulated_url: str | None, names: BlobNames) -> HardwareSource:
    """Return what a node's hardware is read from: its declaration, a simulation or the machine."""
    if spec.declared is not None:
        return DeclaredSource(spec.declared, slug=spec.slug)
    if simulated_url is not None:
        return SimulatedSource(simulated_url)
    return ThisMachine(names)
