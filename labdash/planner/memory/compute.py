"""Compute buffers: the graph of the largest batch, scheduled and allocated as ggml does it.

Only as many layers are run through as can differ: memory returns to the same state after equal
layers, so what counts is which layers are neighbours.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from labdash.planner.ggml import PLAIN_TYPES
from labdash.planner.memory.allocator import Event, Trace, peaks, trace
from labdash.planner.memory.builder import Batch, Place, Traits, Weight
from labdash.planner.memory.caches import Cells
from labdash.planner.memory.recipes import build
from labdash.planner.memory.scheduler import PIPELINE_COPIES, Rules, schedule
from labdash.planner.memory.split import Split
from labdash.planner.memory.walk import short_walk
from labdash.planner.memory.weights import (
    COPIED_TENSORS,
    GPU_ALIGNMENT,
    HOST_ALIGNMENT,
    TABLE,
    Block,
    parts_of,
    row_padding,
)
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import HOST, Moves, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

# Builds of llama.cpp from which on a compute buffer holds something else. Where only the weeks of
# a change are known, the middle of them.
LIMITED_OUTPUTS_SINCE = 9451
SCRATCH_SINCE = 9480
SUMS_KEPT_SINCE = 10750
KV_PAIRS_SINCE = 10875
ROUTING_KEPT_SINCE = 11130
INPUTS_COPIED_SINCE = 11250
SHARED_GROUPED_SINCE = 11370
MIXED_BATCHES_SINCE = 11398


@dataclass(frozen=True, slots=True)
class Step:
    """A layer that is run through: the block that stands for its like, and its device."""

    block: int
    device: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a graph follows from, beside the model and how many tokens the caches hold."""

    steps: tuple[Step, ...]
    output: int
    batch: Batch
    traits: Traits
    rules: Rules
    moves: Moves


def compute_bytes(
    model: Model, settings: Settings, split: Split, cells: Cells, *, whole: bool = False
) -> tuple[int, ...]:
    """Return the bytes of each GPU's compute buffer, the host's last.

    ``whole`` runs through every layer, to see that leaving out equal ones changes nothing.
    """
    batch = _batch(settings, cells)
    # Where every token gets logits, they go into what the layers before happen to leave free.
    whole = whole or batch.outputs == batch.tokens
    run = Run(
        steps=steps_of(model, split, settings.all_moves, whole=whole),
        output=split.output,
        batch=batch,
        traits=_traits(settings),
        rules=_rules(settings, split),
        moves=settings.all_moves,
    )
    return _peaks(model, run, cells.full, cells.window)


@lru_cache(maxsize=8192)
def _peaks(model: Model, run: Run, cells: int, window_cells: int) -> tuple[int, ...]:
    growth = _growth(model, run)
    sizes = growth.sizes_at(cells, window_cells)
    alignments = [GPU_ALIGNMENT] * run.rules.gpu_count + [HOST_ALIGNMENT]
    return tuple(peaks(growth.events, sizes, alignments))


@lru_cache(maxsize=4096)
def steps_of(model: Model, split: Split, moves: Moves, *, whole: bool = False) -> tuple[Step, ...]:
    """Tell the layers to run through."""
    classes = _classes(model, moves)
    steps = [
        Step((classes.host if device == HOST else classes.gpu)[index], device)
        for index, device in enumerate(split.layers[: len(model.shape.layers)])
    ]
    return tuple(steps if whole else short_walk(steps))


@dataclass(frozen=True, slots=True)
class _Classes:
    """The first block that is like each block, where it lies on a GPU and on the host."""

    gpu: tuple[int, ...]
    host: tuple[int, ...]


@lru_cache(maxsize=32)
def _classes(model: Model, moves: Moves) -> _Classes:
    firsts: dict[object, int] = {}
    gpu, host = [], []
    blocks = parts_of(model, moves).blocks
    for index, layer in enumerate(model.shape.layers):
        block = blocks[index]
        names = tuple((name, t.shape, _grouped(name, t)) for name, t in block.tensors.items())
        moved = tuple((name, home, block.tensors[name].bytes) for name, home in block.moved.items())
        sizes = tuple(t.bytes for t in block.tensors.values())
        gpu.append(firsts.setdefault((layer, names, moved), index))
        host.append(firsts.setdefault((layer, names, moved, sizes), index))
    return _Classes(tuple(gpu), tuple(host))


def _grouped(name: str, tensor: Tensor) -> str | None:
    """Tell the type where the graph depends on it: experts that run together are of one type."""
    return tensor.type if name in GROUPED else None


GROUPED = frozenset(
    f"ffn_{part}_{kind}.weight" for part in ("gate", "up") for kind in ("exps", "shexp")
)


def is_pipelined(settings: Settings, split: Split) -> bool:
    """Tell whether batches run through several GPUs at once, which takes copies of what crosses."""
    return (
        len(settings.gpus) > 1
        and split.all_offloaded
        and settings.kv_offload
        and settings.pipeline
        and not settings.all_moves
    )


def _rules(settings: Settings, split: Split) -> Rules:
    return Rules(
        gpu_count=len(settings.gpus),
        op_offload=settings.op_offload,
        copies=PIPELINE_COPIES if is_pipelined(settings, split) else 1,
        copy_every_input=settings.build >= INPUTS_COPIED_SINCE,
    )


def _batch(settings: Settings, cells: Cells) -> Batch:
    slots = settings.parallel
    tokens = -(-cells.ubatch // slots) * slots
    limited = settings.build >= LIMITED_OUTPUTS_SINCE
    wanted = slots if settings.outputs is None else settings.outputs
    return Batch(
        tokens=tokens,
        outputs=min(wanted, tokens) if limited and wanted else tokens,
        streams=cells.streams,
        slots=slots,
        cells=0,
        window_cells=0,
        flash_attn=settings.flash_attn,
        type_k=settings.type_k,
        type_v=settings.type_v,
    )


def _traits(settings: Settings) -> Traits:
    number = settings.build
    return Traits(
        mixed_batches=number >= MIXED_BATCHES_SINCE,
        keeps_sums=number >= SUMS_KEPT_SINCE,
        keeps_routing=number >= ROUTING_KEPT_SINCE,
        groups_shared=number >= SHARED_GROUPED_SINCE,
        scratch=number >= SCRATCH_SINCE,
        kv_pairs=number >= KV_PAIRS_SINCE,
        kv_offload=settings.kv_offload,
        host=len(settings.gpus),
    )


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


@lru_cache(maxsize=2048)
def _growth(model: Model, run: Run) -> Growth:
    """Build the graph once. No size in it grows faster than the tokens in a cache."""
    found = _trace(model, run, 1 << FULL_BITS, 1 << WINDOW_BITS)
    return Growth(
        events=found.events,
        base=tuple(size & MASK for size in found.sizes),
        full=tuple((size >> FULL_BITS) & MASK for size in found.sizes),
        window=tuple(size >> WINDOW_BITS for size in found.sizes),
    )


def _trace(model: Model, run: Run, cells: int, window_cells: int) -> Trace:
    host = run.rules.gpu_count
    blocks = parts_of(model, run.moves).blocks
    places = [
        replace(
            _place(model, blocks[step.block], step, host, kv_offload=run.traits.kv_offload),
            # Equal layers stand for different ones, with tensors of their own.
            index=index,
        )
        for index, step in enumerate(run.steps)
    ]
    ends = _ends(model, parts_of(model, run.moves).output, run)
    batch = replace(run.batch, cells=cells, window_cells=window_cells)
    plan = schedule(build(model.shape, batch, run.traits, places, ends), run.rules)
    return trace(plan.nodes, plan.leaves, host)


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
    )


def _ends(model: Model, output: Block, run: Run) -> Place:
    host = run.rules.gpu_count
    device = host if run.output == HOST else run.output
    weights = {
        name: _weight(tensor, _home(output, name, device, host))
        for name, tensor in output.tensors.items()
    }
    weights[TABLE] = _weight(model.table.ends[TABLE], host)
    shapes: Mapping[str, tuple[int, ...]] = {}
    return Place(-1, model.shape.layers[0], weights, shapes, host)


def _home(block: Block, name: str, device: int, host: int) -> int:
    home = block.moved.get(name, device)
    return host if home == HOST else home


def _weight(tensor: Tensor, home: int) -> Weight:
    padding = 0 if tensor.type in PLAIN_TYPES else row_padding(tensor.type, tensor.shape[0])
    return Weight(tensor.bytes, padding, home, tensor.type)
