"""One NVIDIA GPU's figures. Each stands alone: what a card does not report is ``None``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import pynvml

# What is wrong with the card as a whole, not with the one figure asked for.
_LOST = pynvml.NVML_ERROR_GPU_IS_LOST
_RESET = pynvml.NVML_ERROR_RESET_REQUIRED
# What is wrong with the library or its driver, whatever was asked for.
_DRIVER = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)

# Bits of nvmlClocksEventReasons in words; idle clocks are no throttling.
_THROTTLE_REASONS = {
    0x02: "application clocks",
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}
_MILLI = 1000.0


class CardLost(Exception):  # noqa: N818 - a state of the card
    """The card fell off the bus."""


class CardNeedsReset(Exception):  # noqa: N818 - a state of the card
    """The card answers nothing until it is reset."""


class DriverGone(Exception):  # noqa: N818 - a state of the driver
    """The driver was unloaded or replaced under the library; ``error`` is NVML's word for it."""

    def __init__(self, error: pynvml.NVMLError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory in bytes; ``reserved`` is ``None`` where the driver counts it as used."""

    total: int | None = None
    used: int | None = None
    free: int | None = None
    reserved: int | None = None
    unified: bool = False


def ask[T](function: Callable[..., T], *arguments: Any) -> T | None:
    """Call NVML; ``None`` for what it will not tell.

    Raises ``CardLost``, ``CardNeedsReset`` or ``DriverGone``.
    """
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        _raise_if_more(error)
        return None


def _raise_if_more(error: pynvml.NVMLError) -> None:
    """Raise what an error says of more than the figure that was asked for."""
    if error.value == _LOST:
        raise CardLost from error
    if error.value == _RESET:
        raise CardNeedsReset from error
    if error.value in _DRIVER:
        raise DriverGone(error) from error


def read_memory(handle: Any) -> Memory:
    """Read memory by the newest call that the driver knows; RAM where the GPU shares it."""
    if split := ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2):
        return Memory(total=split.total, used=split.used, free=split.free, reserved=split.reserved)
    try:
        whole = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        _raise_if_more(error)
        return _memory_elsewhere(handle, error.value)
    return Memory(total=whole.total, used=whole.used, free=whole.free)


def _memory_elsewhere(handle: Any, code: int) -> Memory:
    """A card that is split tells memory by its parts; GB10 and Jetson share the machine's RAM."""
    if parts := mig_parts(handle):
        memories = [read_memory(part) for part in parts]
        return Memory(
            total=_sum(memory.total for memory in memories),
            used=_sum(memory.used for memory in memories),
            free=_sum(memory.free for memory in memories),
            reserved=_sum(memory.reserved for memory in memories),
        )
    if code != pynvml.NVML_ERROR_NOT_SUPPORTED:
        return Memory()
    ram = psutil.virtual_memory()
    used = ram.total - ram.available
    return Memory(total=ram.total, used=used, free=ram.available, unified=True)


def _sum(values: Any) -> int | None:
    known = list(values)
    return None if None in known else sum(known)


def mig_parts(handle: Any) -> list[Any]:
    """Return the handles of a card's MIG instances; none where it is not split."""
    mode = ask(pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    count = ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    parts = (
        ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index) for index in range(count)
    )
    return [part for part in parts if part is not None]


def read_figures(handle: Any) -> dict[str, Any]:
    """Read all that is one number or one text, by the names of ``GpuReading``."""
    return {name: read(handle) for name, read in _FIGURES.items()}


def read_processes(handle: Any) -> dict[int, int | None] | None:
    """Return used bytes by process; ``None`` where the driver tells of no processes."""
    compute = _processes(handle, "Compute")
    graphics = _processes(handle, "Graphics")
    if compute is None and graphics is None:
        return None
    # A process with both kinds of context is in both lists with the same figure.
    return {**(graphics or {}), **(compute or {})}


def _processes(handle: Any, kind: str) -> dict[int, int | None] | None:
    for version in ("v3", "v2"):
        function = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_{version}")
        found = ask(function, handle)
        if found is not None:
            return {process.pid: process.usedGpuMemory for process in found}
    return None


def _name(handle: Any) -> str | None:
    return _text(ask(pynvml.nvmlDeviceGetName, handle))


def _pci_id(handle: Any) -> str | None:
    info = ask(pynvml.nvmlDeviceGetPciInfo_v3, handle)
    return _text(info.busId) if info else None


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _utilization(handle: Any) -> int | None:
    rates = ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return rates.gpu if rates else None


def _temperature(handle: Any) -> int | None:
    return ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)


def _power(handle: Any) -> float | None:
    return _watts(ask(pynvml.nvmlDeviceGetPowerUsage, handle))


def _power_limit(handle: Any) -> float | None:
    return _watts(ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle))


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MILLI


def _clock_graphics(handle: Any) -> int | None:
    return ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_GRAPHICS)


def _clock_memory(handle: Any) -> int | None:
    return ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM)


def _throttle_reasons(handle: Any) -> tuple[str, ...] | None:
    bits = ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if bits is None:  # the name of drivers before 535
        bits = ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    if bits is None:
        return None
    return tuple(words for bit, words in _THROTTLE_REASONS.items() if bits & bit)


_FIGURES: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "pci_id": _pci_id,
    "utilization_percent": _utilization,
    "temperature_celsius": _temperature,
    "power_watts": _power,
    "power_limit_watts": _power_limit,
    "clock_graphics_mhz": _clock_graphics,
    "clock_memory_mhz": _clock_memory,
    "throttle_reasons": _throttle_reasons,
}
