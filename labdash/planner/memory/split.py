"""Which device holds each layer: llama-model.cpp, load_tensors.

Devices are numbered, the host is ``HOST``. The output layer counts as the layer after the last.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import inf
from struct import pack, unpack

from labdash.planner.errors import PlannerError
from labdash.planner.settings import ALL_LAYERS, HOST, Settings

# Before build 7460 (2025-12-18) the last blocks went to the GPU first, the output layer last.
OUTPUT_FIRST_SINCE = 7460


@dataclass(frozen=True, slots=True)
class Split:
    """``layers`` gives the device of each block, ``output`` that of the output layer."""

    layers: tuple[int, ...]
    output: int
    all_offloaded: bool


def split_layers(blocks: int, settings: Settings) -> Split:
    """Distribute ``blocks`` and the output layer over the GPUs and the host."""
    shares = settings.tensor_split or _free_shares(settings)
    first = settings.build >= OUTPUT_FIRST_SINCE
    return _split(blocks, settings.gpu_layers, shares, len(settings.gpus), output_first=first)


@lru_cache(maxsize=1024)
def _split(
    blocks: int, gpu_layers: int, shares: tuple[float, ...], gpu_count: int, *, output_first: bool
) -> Split:
    if gpu_layers < 0 and gpu_layers != ALL_LAYERS:
        raise PlannerError("layers on the GPU cannot be negative; -1 or all is every layer")
    units = blocks + 1
    wanted = units if gpu_layers == ALL_LAYERS else min(gpu_layers, units)
    wanted = wanted if gpu_count else 0
    bounds = _bounds(shares, gpu_count) if wanted else []
    if output_first:
        first = units - wanted
        devices = [_device(i - first, wanted, bounds) for i in range(units)]
    else:
        whole = wanted == units
        offloaded = wanted if whole else min(wanted, blocks)
        first = (units if whole else blocks) - offloaded
        devices = [_device(i - first, offloaded, bounds) for i in range(blocks)]
        devices.append(_device(blocks - first, offloaded, bounds) if whole else HOST)
    return Split(tuple(devices[:-1]), devices[-1], wanted == units)


def _device(position: int, offloaded: int, bounds: list[float]) -> int:
    if position < 0 or not offloaded:
        return HOST
    share = _single(position / offloaded)
    return next((d for d, bound in enumerate(bounds) if bound > share), len(bounds) - 1)


def _bounds(shares: tuple[float, ...], gpu_count: int) -> list[float]:
    """Cumulate the shares of the GPUs."""
    if len(shares) > gpu_count:
        raise PlannerError(f"{len(shares)} shares for {gpu_count} GPUs")
    padded = [*shares, *[0.0] * (gpu_count - len(shares))]
    if not all(0 <= share < inf for share in padded) or not sum(padded):
        raise PlannerError("the shares of the GPUs must be positive numbers")
    # In single precision, as llama.cpp reckons: the last layer of a share hangs on it.
    sums = list(accumulate(padded, lambda total, share: _single(total + _single(share))))
    return [_single(each / sums[-1]) for each in sums]


def _free_shares(settings: Settings) -> tuple[float, ...]:
    """Share by free memory, or equally where that is not known."""
    free = [gpu.free_bytes for gpu in settings.gpus]
    known = tuple(float(each) for each in free if each is not None)
    return known if len(known) == len(free) and any(known) else (1.0,) * len(free)


def _single(value: float) -> float:
    return float(unpack("f", pack("f", value))[0])
