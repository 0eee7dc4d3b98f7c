"""Where a model lies, and what else lies there: by Ollama's word and by the driver's."""

from dataclasses import dataclass

from workers.engines.base import EngineDown
from workers.engines.watch import InstanceWatch
from workers.nodewatch import NodeWatch
from workers.wire import GpuProcess, GpuReading, LoadedModel, TryGpu, TryPlace

HARDWARE_S = 2.0
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A model in memory; ``pids`` are its processes on the GPUs, none where none can be seen.

    ``used_bytes`` is what all GPUs hold, whoever's it is.
    """

    entry: LoadedModel | None
    place: TryPlace
    pids: frozenset[int]
    used_bytes: int | None = None


def find_entry(node: NodeWatch, watch: InstanceWatch, model: str) -> LoadedModel | None:
    """Return a model's line in ``/api/ps``: names of the same weights share one.

    Raises ``EngineDown``.
    """
    names = node.same_weights(watch.spec.name, model)
    return next((each for each in watch.engine.loaded() if each.name in names), None)


def look(node: NodeWatch, watch: InstanceWatch, model: str) -> Seen:
    """See where a model lies now."""
    try:
        entry = find_entry(node, watch, model)
    except EngineDown:
        entry = None
    names = node.same_weights(watch.spec.name, model)
    gpus = node.gpus(wait_s=HARDWARE_S)
    found = runners(gpus, names, not_of=node.instance_names - {watch.spec.name})
    place = TryPlace(
        size_bytes=entry.size_bytes if entry else None,
        size_vram_bytes=entry.size_vram_bytes if entry else None,
        context_length=entry.context_length if entry else None,
        gpus=None if found is None else tuple(map(_held, found)),
    )
    pids = frozenset(process.pid for _, process in found or ())
    return Seen(entry=entry, place=place, pids=pids, used_bytes=_used(gpus))


def runners(
    gpus: tuple[GpuReading, ...], names: frozenset[str], *, not_of: frozenset[str] = frozenset()
) -> list[tuple[GpuReading, GpuProcess]] | None:
    """Return the processes that serve a model, but for those of other instances of the node.

    ``None`` where no process is told.
    """
    if all(gpu.processes is None for gpu in gpus):
        return None
    return [
        (gpu, process)
        for gpu in gpus
        for process in gpu.processes or ()
        if process.model in names and process.instance not in not_of
    ]


def _held(found: tuple[GpuReading, GpuProcess]) -> TryGpu:
    gpu, process = found
    return TryGpu(index=gpu.index, name=gpu.name, used_bytes=process.used_bytes)


def _used(gpus: tuple[GpuReading, ...]) -> int | None:
    used = [gpu.memory_used_bytes for gpu in gpus]
    return sum(each or 0 for each in used) if used and None not in used else None


def tell_room(gpus: tuple[GpuReading, ...]) -> str:
    """Say how much was free on each card, and who held the rest."""
    return " ".join(_room(gpu) for gpu in gpus[:4] if gpu.memory_free_bytes is not None)


def _room(gpu: GpuReading) -> str:
    holders = sorted(gpu.processes or (), key=lambda each: -(each.used_bytes or 0))
    held = ", ".join(
        f"{(each.model or each.name or 'a program')[:40]} {gib(each.used_bytes)}"
        for each in holders[:3]
        if each.used_bytes
    )
    free = f"GPU {gpu.index} had {gib(gpu.memory_free_bytes)} free before"
    return f"{free}; it held {held}." if held else f"{free}."


def gib(number: int | None) -> str:
    """Write bytes in GiB."""
    return "an unknown amount" if number is None else f"{number / GIB:.1f} GiB"
