"""How llama.cpp shares layers out, to which Ollama leaves it from 0.30 on."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from workers.simlab.catalog import models
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.memory import MIB, not_recorded, recorded_compute, weights
from workers.simlab.splits import Room, Split, needed_bytes, unit_bytes

FIT_MARGIN = 1024 * MIB


def split_by_engine(request: LoadRequest, rooms: list[Room], *, fit: bool) -> Split:
    """Share the layers out over the GPUs that the process sees, or raise ``LoadRefused``."""
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
    free = [max(room.free_bytes, 1) for room in rooms]
    ends = [part / sum(free) for part in accumulate(free)]
    ends[-1] = 1.0
    owners = [bisect_right(ends, unit / count) for unit in range(count)]
    stops = [layers - count + bisect_right(owners, i) for i in range(len(rooms))]
    starts = [layers - count, *stops]
    return {room.index: range(starts[i], stops[i]) for i, room in enumerate(rooms)}


def _fits(request: LoadRequest, split: Split, rooms: Sequence[Room], *, margin: int) -> bool:
    needs = needed_bytes(request, split)
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
    units = unit_bytes(request)
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
