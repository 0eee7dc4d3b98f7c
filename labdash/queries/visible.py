"""Which GPUs an Ollama server sees, by the settings that it was started with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers import wire

# Each hides GPUs of its own kind; the first that is set counts.
_NVIDIA = ("CUDA_VISIBLE_DEVICES",)
_AMD = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_VARIABLES = {"nvml": _NVIDIA, "simulated": _NVIDIA, "amdgpu": _AMD}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The numbers of the GPUs that a server sees; ``None`` where its settings leave that open.

    ``setting`` is the line that hides others, empty where none does.
    """

    gpus: tuple[int, ...] | None
    setting: str = ""


def seen_by(reading: wire.InstanceReading, gpus: Iterable[wire.GpuReading]) -> Seen | None:
    """Return what a server sees of a node's GPUs; ``None`` where its settings are not known."""
    cards = [gpu for gpu in gpus if gpu.source != "declared"]
    if reading.settings is None or not cards:
        return None
    settings = {setting.name: setting.value for setting in reading.settings}
    found: list[int] = []
    told = ""
    for source in sorted({gpu.source for gpu in cards}):
        own = [gpu for gpu in cards if gpu.source == source]
        name = next((name for name in _VARIABLES.get(source, ()) if name in settings), None)
        if name is None:
            found += [gpu.index for gpu in own]
            continue
        told = f"{name}={settings[name]}"
        chosen = _chosen(settings[name], own, settings)
        if chosen is None:
            return Seen(gpus=None, setting=told)
        found += chosen
    return Seen(gpus=tuple(sorted(found)), setting=told)


def _chosen(
    value: str, gpus: list[wire.GpuReading], settings: Mapping[str, str]
) -> list[int] | None:
    """Read a list of numbers and identities; CUDA stops at the first that it does not know."""
    found = []
    for entry in filter(None, (part.strip() for part in value.split(","))):
        if entry.lstrip("-").isdecimal():
            if not _counts_as_the_driver(gpus, settings):
                return None
            matches = [gpu for gpu in gpus if gpu.index == int(entry)]
        else:
            matches = [gpu for gpu in gpus if gpu.uuid.lower().startswith(entry.lower())]
        if len(matches) != 1:
            break
        found.append(matches[0].index)
    return found


def _counts_as_the_driver(gpus: list[wire.GpuReading], settings: Mapping[str, str]) -> bool:
    """Tell whether numbers mean the same cards: CUDA counts the fastest first if nothing is set."""
    alike = len({gpu.name for gpu in gpus}) == 1
    return alike or settings.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
