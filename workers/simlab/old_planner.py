"""How Ollama itself shared layers out, up to 0.24."""

from collections.abc import Sequence

from workers.simlab.catalog import models
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.memory import MIB, not_recorded, recorded_compute
from workers.simlab.splits import Room, Split, unit_bytes

RESERVE = 457 * MIB


def split_by_server(request: LoadRequest, rooms: Sequence[Room]) -> Split:
    """Take the fewest GPUs, most free first, that hold everything.

    A real server would leave blocks on the host else; no such load was recorded.
    """
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
    request: LoadRequest, rooms: Sequence[Room], layers: int, reserve: int = RESERVE
) -> Split | None:
    """Find the smallest share of each GPU by which all layers fit, the last ones filled first."""
    buffers = recorded_compute(request, devices=len(rooms), layers=layers)
    if buffers is None:
        raise LoadRefused(500, not_recorded(request, devices=len(rooms), layers=layers))
    spare = [
        room.free_bytes - max(reserve, room.context_bytes) - buffer
        for room, buffer in zip(rooms, buffers[:-1], strict=True)
    ]
    units = unit_bytes(request)
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
