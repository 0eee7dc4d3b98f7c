"""What a node reports of its GPUs, their driver and the machine around them."""

from typing import Annotated, Literal

from pydantic import Field

from workers.values import Count, Each, Figure, Identity, Maybe, Medium, Name, Small, Text, or_else
from workers.wire.base import Message

# What a machine can hold, with room; more is noise that would fill the database.
MOST_GPUS = 64
MOST_PROCESSES = 1000


class GpuProcess(Message):
    """A process that holds memory of a GPU. ``model`` is set for a runner of Ollama.

    A model that no instance has installed is named by the first digits of its weights' digest.
    ``instance`` is the server that started the runner; an orphan's server is gone.
    ``context_tokens`` are those of all its slots together, by its command line.
    """

    pid: Count
    name: Maybe[Text] = None
    used_bytes: Maybe[Count] = None
    model: Maybe[Name] = None
    instance: Maybe[Text] = None
    is_orphan: bool = False
    context_tokens: Maybe[Medium] = None
    slots: Maybe[Small] = None


class GpuReading(Message):
    """One GPU at one moment. ``uuid`` is its identity; ``index`` may change between boots.

    ``memory_used_bytes`` leaves out ``memory_reserved_bytes`` where the driver tells them apart
    (then total = used + free + reserved), else it holds both and reserved is ``None``.
    ``unified`` memory is the part of RAM that the GPU may use. A card that is ``asleep`` was not
    asked, since that would wake it: its state is "ok" and its figures are unknown.
    """

    uuid: Identity
    index: Small
    name: Maybe[Text] = None
    pci_id: Maybe[Text] = None
    source: Literal["nvml", "amdgpu", "declared", "simulated"]
    state: Annotated[Literal["ok", "lost", "error"], or_else("error")] = "ok"
    reason: Maybe[Text] = None
    asleep: bool = False
    unified: bool = False
    memory_total_bytes: Maybe[Count] = None
    memory_used_bytes: Maybe[Count] = None
    memory_free_bytes: Maybe[Count] = None
    memory_reserved_bytes: Maybe[Count] = None
    utilization_percent: Maybe[Small] = None
    temperature_celsius: Maybe[Annotated[int, Field(ge=-273, lt=2**15)]] = None
    power_watts: Maybe[Figure] = None
    power_limit_watts: Maybe[Figure] = None
    clock_graphics_mhz: Maybe[Medium] = None
    clock_memory_mhz: Maybe[Medium] = None
    throttle_reasons: Maybe[Annotated[tuple[Text, ...], Field(max_length=100)]] = None
    processes: Maybe[Annotated[tuple[Each[GpuProcess], ...], Field(max_length=MOST_PROCESSES)]] = (
        None
    )


class DriverReading(Message):
    """The GPU driver as a whole.

    ``missing``: no NVML library. ``not_loaded``: library without kernel module. ``mismatch``:
    updated, a reboot is due. ``none``: hardware is declared, there is nothing to read.
    ``cards_seen`` counts NVIDIA cards on the bus where the driver is missing. ``cards_asleep``
    counts those that have slept since the worker started: nobody knows yet what they are.
    """

    state: Annotated[
        Literal["ok", "missing", "not_loaded", "mismatch", "error", "none"], or_else("error")
    ]
    version: Maybe[Text] = None
    reason: Maybe[Text] = None
    cards_seen: Maybe[Small] = None
    cards_asleep: Maybe[Small] = None


class HostReading(Message):
    """The machine around the GPUs."""

    hostname: Maybe[Text] = None
    system: Maybe[Literal["linux", "windows", "mac"]] = None
    ram_total_bytes: Maybe[Count] = None
    ram_used_bytes: Maybe[Count] = None
    cpu_percent: Maybe[Figure] = None


class DiskReading(Message):
    """The file system under an instance's model store."""

    path: Text
    total_bytes: Count
    free_bytes: Count
