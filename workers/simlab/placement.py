"""Where an Ollama version puts a model: the rules from 0.30 on, and those up to 0.24.

Sizes come from ``memory.py``. The rules are written down here a second time on purpose: what the
planner believes of an Ollama version is checked against this.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from workers.simlab.catalog import models
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.memory import (
    MIB,
    caches,
    compute,
    not_recorded,
    output_bytes,
    recorded_compute,
    weights,
)

FIT_MARGIN = 1024 * MIB
OLD_RESERVE = 457 * MIB
# A model is put on one GPU, or loaded beside others, where it is predicted to take this much.
PREDICTED_SHARE = 0.8
# What larger batches are expected to add.
BATCH_SURCHARGE = {1024: 768 * MIB, 2048: 2048 * MIB}


@dataclass(frozen=True, kw_only=True)
class Room:
    """A GPU as a new process finds it. ``context_bytes``: what CUDA takes before any buffer."""

    index: int
    free_bytes: int
    context_bytes: int

    @property
    def usable_bytes(self) -> int:
        """What is left for buffers."""
        return self.free_bytes - self.context_bytes


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What goes where, in bytes, the CUDA contexts left out.

    ``size_bytes`` and ``size_vram_bytes`` are what the server itself believes.
    """

    by_gpu: dict[int, int]
    host_bytes: int
    gpu_layers: int
    layers: int
    size_bytes: int
    size_vram_bytes: int


def is_old(version: str) -> bool:
    """Whether the version still has its own planner."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) < (0, 30)


def predicted_bytes(request: LoadRequest) -> int:
    """Tell what Ollama itself expects, by a formula that is no estimate of the truth."""
    model = models()[request.model]
    prefix = f"{model.architecture}.attention"
    heads = int(model.metadata[f"{prefix}.head_count"])
    width = model.embedding_length // heads * int(model.metadata[f"{prefix}.head_count_kv"])
    context = min(request.context_length, model.context_length) * request.parallel
    return model.variants[request.quant].file_bytes + 4 * model.block_count * width * context


def must_evict(request: LoadRequest, rooms: Sequence[Room]) -> bool:
    """Apply the 80 % rule by which models from 0.30 on are evicted before a load."""
    model = models()[request.model]
    if not rooms or 0 <= request.num_gpu <= model.block_count:
        return False
    wanted = predicted_bytes(request) + BATCH_SURCHARGE.get(request.batch, 0)
    free = sum(room.free_bytes for room in visible(request, rooms))
    return wanted > PREDICTED_SHARE * free


def visible(request: LoadRequest, rooms: Sequence[Room]) -> list[Room]:
    """Choose the GPUs that the process may see, in the machine's order."""
    if request.main_gpu is not None:
        if request.main_gpu not in range(len(rooms)):
            raise LoadRefused(500, "llama-server process has terminated: exit status 1")
        return [rooms[request.main_gpu]]
    wanted = predicted_bytes(request)
    roomy = [room for room in rooms if wanted <= PREDICTED_SHARE * room.free_bytes]
    return [max(roomy, key=lambda room: room.free_bytes)] if roomy else list(rooms)


def place(
    request: LoadRequest, rooms: Sequence[Room], version: str, *, fit: bool = True
) -> Placement:
    """Place a model, or raise ``LoadRefused``. Without ``rooms`` it goes to the CPU.

    Without ``fit`` (``LLAMA_ARG_FIT=off``) nothing is left on the host that was not asked for.
    """
    if not rooms or request.num_gpu == 0:
        return _settle(request, {}, old=is_old(version))
    if is_old(version):
        return _settle(request, _old_split(request, rooms), old=True)
    return _settle(request, _new_split(request, visible(request, rooms), fit=fit), old=False)


# Units (blocks in order, the output last) of each GPU, by its index.
type Split = dict[int, range]


# --- from 0.30 on: llama.cpp decides ------------------------------------------------------------


def _new_split(request: LoadRequest, rooms: list[Room], *, fit: bool) -> Split:
    layers = models()[request.model].block_count + 1
    if request.num_gpu > 0 or not fit:
        count = min(request.num_gpu, layers) if request.num_gpu > 0 else layers
        split = proportional(rooms, layers, count)
        if not _fits(request, split, rooms, margin=0):
            text = "cudaMalloc failed: out of memory"
            raise LoadRefused(500, f"llama-server reported out-of-memory during startup: {text}")
        return split
    whole = proportional(rooms, layers, layers)
    if _fits(request, whole, rooms, margin=FIT_MARGIN):
        return whole
    return _back_to_front(request, rooms)


def proportional(rooms: Sequence[Room], layers: int, count: int) -> Split:
    """Share the last ``count`` units in proportion to free memory, in the GPUs' order."""
    total = sum(room.free_bytes for room in rooms)
    ends = [part / total for part in accumulate(room.free_bytes for room in rooms)]
    ends[-1] = 1.0
    owners = [bisect_right(ends, unit / count) for unit in range(count)]
    stops = [layers - count + bisect_right(owners, i) for i in range(len(rooms))]
    starts = [layers - count, *stops]
    return {room.index: range(starts[i], stops[i]) for i, room in enumerate(rooms)}


def _fits(request: LoadRequest, split: Split, rooms: Sequence[Room], *, margin: int) -> bool:
    needs = _needs(request, split)
    return all(needs[room.index] <= room.usable_bytes - margin for room in rooms)


def _back_to_front(request: LoadRequest, rooms: Sequence[Room]) -> Split:
    """Fill the GPUs from the last to the first; the first blocks stay on the host.

    Of the numbers of layers that would do, the greatest whose buffer was recorded is taken.
    """
    model = models()[request.model]
    if f"{model.architecture}.expert_count" in model.metadata:
        text = f"the simulation has no compute buffer of {model.key} with experts on the host"
        raise LoadRefused(500, f"not recorded: {text}")
    for count in range(model.block_count, -1, -1):
        buffers = recorded_compute(request, devices=len(rooms), layers=count)
        split = buffers and _filled(request, rooms, buffers, count)
        if split:
            return split
    raise LoadRefused(500, not_recorded(request, devices=len(rooms), layers=model.block_count))


def _filled(
    request: LoadRequest, rooms: Sequence[Room], buffers: tuple[int, ...], count: int
) -> Split | None:
    units = _unit_bytes(request)
    first, left = len(units) - count, len(units)
    split: Split = {}
    for room, buffer in reversed(list(zip(rooms, buffers[:-1], strict=True))):
        spare = (
            room.usable_bytes - FIT_MARGIN - buffer - weights(request.model, request.quant).shared
        )
        start = left
        while start > first and units[start - 1] <= spare:
            start -= 1
            spare -= units[start]
        split[room.index], left = range(start, left), start
    return split if left == first else None


# --- up to 0.24: Ollama's own planner -----------------------------------------------------------


def _old_split(request: LoadRequest, rooms: Sequence[Room]) -> Split:
    """Take the fewest GPUs, most free first, that hold everything; else leave blocks out."""
    layers = models()[request.model].block_count + 1
    ordered = sorted(rooms, key=lambda room: -room.free_bytes)
    if request.num_gpu > 0:
        return _old_forced(request, ordered, layers)
    for size in range(1, len(ordered) + 1):
        split = _balanced(request, ordered[:size], layers)
        if split:
            return split
    raise LoadRefused(500, not_recorded(request, devices=len(rooms), layers=layers - 1))


def _old_forced(request: LoadRequest, ordered: Sequence[Room], layers: int) -> Split:
    if request.num_gpu < layers:
        raise LoadRefused(500, not_recorded(request, devices=1, layers=request.num_gpu))
    for size in range(1, len(ordered) + 1):
        split = _balanced(request, ordered[:size], layers, reserve=0)
        if split:
            return split
    text = f"memory layout cannot be allocated with num_gpu = {request.num_gpu}"
    raise LoadRefused(500, text)


def _balanced(
    request: LoadRequest, rooms: Sequence[Room], layers: int, reserve: int = OLD_RESERVE
) -> Split | None:
    """Find the smallest share of each GPU by which all layers fit, the last ones filled first."""
    buffers = recorded_compute(request, devices=len(rooms), layers=layers)
    if buffers is None:
        raise LoadRefused(500, not_recorded(request, devices=len(rooms), layers=layers))
    spare = [
        room.free_bytes - max(reserve, room.context_bytes) - buffer
        for room, buffer in zip(rooms, buffers[:-1], strict=True)
    ]
    units = _unit_bytes(request)
    low, high = 0.0, 1.0
    best = _share_out(units, rooms, spare, high)
    for _ in range(20 if best else 0):
        middle = (low + high) / 2
        split = _share_out(units, rooms, spare, middle)
        low, high, best = (low, middle, split) if split else (middle, high, best)
    return best


def _share_out(
    units: Sequence[int], rooms: Sequence[Room], spare: Sequence[int], share: float
) -> Split | None:
    split: Split = {}
    left = len(units)
    for room, bytes_ in reversed(list(zip(rooms, spare, strict=True))):
        budget, start = bytes_ * share, left
        while start and units[start - 1] <= budget:
            start -= 1
            budget -= units[start]
        split[room.index], left = range(start, left), start
    return split if left == 0 else None


# --- what a split takes -------------------------------------------------------------------------


def _unit_bytes(request: LoadRequest) -> list[int]:
    """Weights and cache of each unit on a GPU; the output has no cache."""
    sizes = [cache.size_bytes for cache in caches(request)]
    parts = weights(request.model, request.quant).gpu
    return [weight + cache for weight, cache in zip(parts, [*sizes, 0], strict=True)]


def _needs(request: LoadRequest, split: Split) -> dict[int, int]:
    """Bytes on each GPU: its units, what every GPU holds again, and its compute buffer."""
    units, shared = _unit_bytes(request), weights(request.model, request.quant).shared
    layers = sum(len(part) for part in split.values())
    buffers = compute(request, devices=len(split), layers=layers)
    ordered = sorted(split, key=lambda index: (split[index].start, split[index].stop))
    return {
        index: sum(units[unit] for unit in split[index]) + shared * bool(split[index]) + buffer
        for index, buffer in zip(ordered, buffers[:-1], strict=True)
    }


def _settle(request: LoadRequest, split: Split, *, old: bool) -> Placement:
    """Sum up a split, and tell what the server believes of it."""
    units = models()[request.model].block_count + 1
    gpu_layers = sum(len(part) for part in split.values())
    by_gpu = _needs(request, split) if gpu_layers else {}
    host = _host_bytes(request, units - gpu_layers, devices=len(by_gpu))
    vram, size = sum(by_gpu.values()), sum(by_gpu.values()) + host
    if old:
        vram = size if gpu_layers == units else vram
    else:
        hidden = [cache.size_bytes * cache.hidden for cache in caches(request)]
        vram -= sum(hidden[units - gpu_layers :])
        size = vram if gpu_layers == units else size - sum(hidden)
    return Placement(
        by_gpu=by_gpu,
        host_bytes=host,
        gpu_layers=gpu_layers,
        layers=units,
        size_bytes=size,
        size_vram_bytes=vram,
    )


def _host_bytes(request: LoadRequest, host_units: int, *, devices: int) -> int:
    """Bytes in RAM: the token embedding, the units left behind, and the host's buffers.

    A process without a GPU builds the same graph as one with a single GPU, all in RAM.
    """
    parts = weights(request.model, request.quant)
    sizes = [cache.size_bytes for cache in caches(request)]
    layers = len(parts.host) - host_units
    buffers = compute(request, devices=devices or 1, layers=layers or len(parts.host))
    kept = parts.host_input + sum(parts.host[:host_units]) + sum(sizes[:host_units])
    return kept + (buffers[-1] if devices else sum(buffers)) + output_bytes(request)
