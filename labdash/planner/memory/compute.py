"""Compute buffers: the graph of the largest batch, scheduled and allocated as ggml does it.

Only as many layers are run through as can differ: memory returns to the same state after equal
layers, so what counts is which layers are neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from labdash.planner.memory.allocator import Event, Trace, peaks, trace
from labdash.planner.memory.builder import Place, Weight
from labdash.planner.memory.caches import Cells
from labdash.planner.memory.padding import GPU_ALIGNMENT, HOST_ALIGNMENT, row_padding
from labdash.planner.memory.recipes import build
from labdash.planner.memory.run import Run, Step, run_of
from labdash.planner.memory.scheduler import schedule
from labdash.planner.memory.split import Split
from labdash.planner.memory.weights import (
    COPIED_TENSORS,
    FIRST_LAYER_TENSORS,
    INPUT_TENSORS,
    Block,
    parts_of,
)
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import HOST, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def compute_bytes(
    model: Model, settings: Settings, split: Split, cells: Cells, *, whole: bool = False
) -> tuple[int, ...] | None:
    """Return the bytes of each GPU's compute buffer, the host's last.

    ``whole`` runs through every layer, to see that leaving out equal ones changes nothing.
    The answer is None where the model's tensors are not those of a graph that is known.
    """
    run = run_of(model, settings, split, cells, whole=whole)
    return _peaks(model, run, cells.full, cells.window)


@lru_cache(maxsize=1024)
def _peaks(model: Model, run: Run, cells: int, window_cells: int) -> tuple[int, ...] | None:
    growth = _growth(model, run)
    if growth is None:
        return None
    sizes = growth.sizes_at(cells, window_cells)
    alignments = [GPU_ALIGNMENT] * run.rules.gpu_count + [HOST_ALIGNMENT]
    return tuple(peaks(growth.events, sizes, alignments))


# Stand for the tokens in the caches while a graph is built: numbers so large that a size, which is
# a sum of multiples of both and of a rest, can be taken apart again.
FULL_BITS, WINDOW_BITS = 128, 256
MASK = (1 << FULL_BITS) - 1


@dataclass(frozen=True, slots=True)
class Growth:
    """A graph's allocations, and how its tensors' sizes follow from the tokens in the caches.

    Each size is ``base + full * tokens + window * tokens of the windowed caches``.
    """

    events: tuple[Event, ...]
    base: tuple[int, ...]
    full: tuple[int, ...]
    window: tuple[int, ...]

    def sizes_at(self, cells: int, window_cells: int) -> list[int]:
        """Work the sizes out."""
        grown = zip(self.base, self.full, self.window, strict=True)
        return [base + full * cells + window * window_cells for base, full, window in grown]


@lru_cache(maxsize=1024)
def _growth(model: Model, run: Run) -> Growth | None:
    """Build the graph once. No size in it grows faster than the tokens in a cache."""
    try:
        found = _trace(model, run, 1 << FULL_BITS, 1 << WINDOW_BITS)
    except (LookupError, ArithmeticError, ValueError):
        # A block of another kind: it lacks a tensor, a dimension or heads that graphs have here.
        return None
    return Growth(
        events=found.events,
        base=tuple(size & MASK for size in found.sizes),
        full=tuple((size >> FULL_BITS) & MASK for size in found.sizes),
        window=tuple(size >> WINDOW_BITS for size in found.sizes),
    )


def _trace(model: Model, run: Run, cells: int, window_cells: int) -> Trace:
    host = run.rules.gpu_count
    blocks = parts_of(model, run.moves).blocks
    places: list[Place] = []
    for index, step in enumerate(run.steps):
        place = _place(model, blocks[step.block], step, host, kv_offload=run.traits.kv_offload)
        home = place.cache_home if place.layer.owns_cache else _owner_home(places, place)
        # Equal layers stand for different ones, with tensors of their own.
        places.append(replace(place, index=index, cache_home=home))
    ends = _ends(model, parts_of(model, run.moves).output, run)
    batch = replace(run.batch, cells=cells, window_cells=window_cells)
    plan = schedule(build(model.shape, batch, run.traits, places, ends), run.rules)
    return trace(plan.nodes, plan.leaves, host)


def _owner_home(places: Sequence[Place], place: Place) -> int:
    """Tell where the cache lies that a layer reads: that of the last like it with one."""
    owners = (
        each.cache_home
        for each in reversed(places)
        if each.layer.owns_cache and each.layer.window == place.layer.window
    )
    return next(owners, place.cache_home)


@lru_cache(maxsize=1024)
def _place(model: Model, block: Block, step: Step, host: int, *, kv_offload: bool) -> Place:
    device = host if step.device == HOST else step.device
    weights = {
        name: _weight(tensor, _home(block, name, device, host))
        for name, tensor in block.tensors.items()
    }
    for name in COPIED_TENSORS & model.table.ends.keys():
        weights[name] = _weight(model.table.ends[name], device)
    return Place(
        index=step.block,
        layer=model.shape.layers[step.block],
        weights=weights,
        shapes={name: tensor.shape for name, tensor in block.tensors.items()},
        cache_home=device if kv_offload else host,
        device=device,
    )


def _ends(model: Model, output: Block, run: Run) -> Place:
    host = run.rules.gpu_count
    device = host if run.output == HOST else run.output
    weights = {
        name: _weight(tensor, _home(output, name, device, host))
        for name, tensor in output.tensors.items()
    }
    for name in INPUT_TENSORS & model.table.ends.keys():
        weights[name] = _weight(model.table.ends[name], host)
    for name in FIRST_LAYER_TENSORS & model.table.ends.keys():
        weights[name] = _first_layer_weight(model, name, run)
    shapes: Mapping[str, tuple[int, ...]] = {}
    return Place(-1, model.shape.layers[0], weights, shapes, host, device)


def _first_layer_weight(model: Model, name: str, run: Run) -> Weight:
    host, first = run.rules.gpu_count, run.steps[0].device
    block = parts_of(model, run.moves).blocks[0]
    return _weight(block.tensors[name], _home(block, name, host if first == HOST else first, host))


def _home(block: Block, name: str, device: int, host: int) -> int:
    home = block.moved.get(name, device)
    return host if home == HOST else home


def _weight(tensor: Tensor, home: int) -> Weight:
    padding = row_padding(tensor.type, tensor.shape[0])
    return Weight(tensor.bytes, padding, home, tensor.type)
