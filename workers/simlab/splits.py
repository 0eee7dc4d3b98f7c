"""Which GPU holds which layers, and what that takes of each."""

from dataclasses import dataclass

from workers.simlab.loads import LoadRequest
from workers.simlab.memory import caches, compute, weights


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


# Units (blocks in order, the output last) of each GPU, by its index.
type Split = dict[int, range]


def unit_bytes(request: LoadRequest) -> list[int]:
    """Weights and cache of each unit on a GPU; the output has no cache."""
    sizes = [cache.size_bytes for cache in caches(request)]
    parts = weights(request.model, request.quant).gpu
    return [weight + cache for weight, cache in zip(parts, [*sizes, 0], strict=True)]


def needed_bytes(request: LoadRequest, split: Split) -> dict[int, int]:
    """Bytes on each GPU: its units, what every GPU holds again, and its compute buffer."""
    units, shared = unit_bytes(request), weights(request.model, request.quant).shared
    layers = sum(len(part) for part in split.values())
    buffers = compute(request, devices=len(split), layers=layers)
    ordered = sorted(split, key=lambda index: (split[index].start, split[index].stop))
    return {
        index: sum(units[unit] for unit in split[index]) + shared * bool(split[index]) + buffer
        for index, buffer in zip(ordered, buffers[:-1], strict=True)
    }
