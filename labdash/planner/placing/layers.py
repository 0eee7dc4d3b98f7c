"""How many layers GPUs hold where not all fit."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache

from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.estimate import estimate, kv_bytes
from labdash.planner.memory.overhead import Overhead
from labdash.planner.memory.result import Estimate
from labdash.planner.memory.split import Split, split_layers
from labdash.planner.memory.weights import parts_of, weight_bytes
from labdash.planner.model import Model
from labdash.planner.settings import ALL_LAYERS, Settings

# With few layers on the host the compute buffer is smaller than where half of them are.
NEARLY_ALL = 0.85

type Learned = tuple[Overhead | None, ...]


def most(fits: Callable[[int], bool], top: int) -> int:
    """Find the greatest number up to ``top`` that fits, 0 where not even 1 does."""
    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def most_layers(
    model: Model, settings: Settings, *, learned: Learned = ()
) -> tuple[Settings, Estimate]:
    """Find how many layers the GPUs hold where not all fit.

    Weights and cache follow from the split at once; the compute buffer, which hardly depends on
    it, is taken from another estimate. Each estimate that does not fit lessens the layers.
    """
    layers = top = model.shape.block_count
    beside = half_beside(model, settings, learned=learned)
    guess = layers_beside(model, settings, beside, top=top)
    if guess > NEARLY_ALL * top:
        beside = [0] * len(beside)
    while True:
        layers = layers_beside(model, settings, beside, top=layers)
        tried = replace(settings, gpu_layers=layers)
        found = estimate(model, tried, learned=learned)
        if found.fits or not layers:
            return tried, found
        beside = beside_bytes(found)
        layers -= 1


def half_beside(model: Model, settings: Settings, *, learned: Learned = ()) -> list[int]:
    """Tell what each GPU holds beside weights and cache where half the layers are on the CPU."""
    half = replace(settings, gpu_layers=(model.shape.block_count + 1) // 2)
    return beside_bytes(estimate(model, half, learned=learned))


def beside_bytes(found: Estimate) -> list[int]:
    """Tell what an estimate has on each GPU beside weights and cache."""
    return [device.beside_bytes for device in found.devices]


def layers_beside(model: Model, settings: Settings, beside: Iterable[int], *, top: int) -> int:
    """Find how many layers leave ``beside`` bytes free on each GPU."""
    rooms = [(g.free_bytes or 0) - b for g, b in zip(settings.gpus, beside, strict=True)]

    def fits(layers: int) -> bool:
        split = split_layers(model.shape.block_count, replace(settings, gpu_layers=layers))
        sizes = _static_bytes(model, replace(settings, gpu_layers=ALL_LAYERS), split)
        return all(size <= room for size, room in zip(sizes, rooms, strict=True))

    return most(fits, top)


@lru_cache(maxsize=1024)
def _static_bytes(model: Model, settings: Settings, split: Split) -> tuple[int, ...]:
    """Count weights and cache on each GPU."""
    count = len(settings.gpus)
    weights = weight_bytes(parts_of(model, ()), split, count)
    kv = kv_bytes(model, settings, split, count_cells(model.shape, settings))
    return tuple(sum(pair) for pair in zip(weights[:count], kv[:count], strict=True))
