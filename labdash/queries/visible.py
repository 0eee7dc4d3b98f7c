"""Which GPUs an Ollama server sees, by the settings that it was started with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from labdash.catalog.gpus import find_gpu
from workers import wire

# Each hides GPUs of its own makers; the one of Vulkan counts cards in an order of its own.
_VARIABLES = {
    "nvml": ("CUDA_VISIBLE_DEVICES",),
    "simulated": ("CUDA_VISIBLE_DEVICES",),
    "amdgpu": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
}
_VULKAN = "GGML_VK_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The numbers of the GPUs that a server sees; ``None`` where its settings leave that open.

    ``setting`` is the line that hides others, empty where none does. ``order`` has the GPUs as
    the server counts them, from 0.
    """

    gpus: tuple[int, ...] | None
    setting: str = ""
    order: tuple[int, ...] = field(default=(), compare=False)


def seen_by(reading: wire.InstanceReading, gpus: Iterable[wire.GpuReading]) -> Seen | None:
    """Return what a server sees of a node's GPUs; ``None`` where its settings are not known."""
    cards = sorted((gpu for gpu in gpus if gpu.source != "declared"), key=lambda gpu: gpu.index)
    if reading.settings is None or not cards:
        return None
    settings = {setting.name: setting.value for setting in reading.settings}
    told = [f"{_VULKAN}={settings[_VULKAN]}"] if _VULKAN in settings else []
    found: list[int] = []
    is_open = bool(told)
    for source in sorted({gpu.source for gpu in cards}):
        left: list[wire.GpuReading] | None = [gpu for gpu in cards if gpu.source == source]
        for name in _VARIABLES.get(source, ()):
            if name in settings and left is not None:
                told.append(f"{name}={settings[name]}")
                left = _chosen(settings[name], left, settings)
        is_open |= left is None
        found += [gpu.index for gpu in _counted(left or [], settings)]
    gpus_seen = None if is_open else tuple(sorted(found))
    return Seen(gpus=gpus_seen, setting=" ".join(told), order=tuple(found))


def _counted(gpus: list[wire.GpuReading], settings: Mapping[str, str]) -> list[wire.GpuReading]:
    """Count cards as CUDA does where nothing is set: unlike ones by how fast they compute."""
    is_told = bool({"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"} & settings.keys())
    if is_told or any(gpu.source != "nvml" for gpu in gpus):
        return gpus
    return sorted(gpus, key=lambda gpu: -_operations(gpu))


# Lanes of a multiprocessor, and the usual GHz, from a compute capability on.
_GENERATIONS = ((8.9, 128, 2.5), (8.6, 128, 1.75), (7.0, 64, 1.6), (0.0, 128, 1.5))


def _operations(gpu: wire.GpuReading) -> float:
    """Estimate what CUDA reckons of a card: its multiprocessors, their lanes and their clock."""
    facts = find_gpu(gpu.name or "", gpu.memory_total_bytes)
    if facts is None or facts.vendor != "nvidia":
        return 0.0
    generation = float(facts.arch)
    return next(facts.units * n * ghz for least, n, ghz in _GENERATIONS if generation >= least)


def _chosen(
    value: str, gpus: list[wire.GpuReading], settings: Mapping[str, str]
) -> list[wire.GpuReading] | None:
    """Read a list of numbers and identities, as CUDA does: to the first that it does not know.

    Numbers count the cards of one maker only. ``None``: it depends on what is not known here.
    """
    found: list[wire.GpuReading] = []
    for entry in filter(None, (part.strip() for part in value.split(","))):
        if entry.startswith("MIG-") or (entry.isdecimal() and not _is_in_order(gpus, settings)):
            return None
        if entry.isdecimal():
            matches = gpus[int(entry) : int(entry) + 1]
        else:
            matches = [gpu for gpu in gpus if _is_named(gpu, entry)]
        if len(matches) != 1:
            break
        found += [gpu for gpu in matches if gpu not in found]
    return found


def _is_named(gpu: wire.GpuReading, entry: str) -> bool:
    """Compare identities; ROCm names a card by the serial number that LabDash has of it too."""
    names = {gpu.uuid.lower(), gpu.uuid.lower().replace("amdgpu-", "gpu-")}
    return any(name.startswith(entry.lower()) for name in names)


def _is_in_order(gpus: list[wire.GpuReading], settings: Mapping[str, str]) -> bool:
    """Tell whether numbers mean the same cards: CUDA counts the fastest first if nothing is set."""
    alike = len({gpu.name for gpu in gpus}) == 1
    is_nvidia = any(gpu.source != "amdgpu" for gpu in gpus)
    return alike or not is_nvidia or settings.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
