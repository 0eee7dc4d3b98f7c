"""Compute buffers: the graph of the largest batch, scheduled and allocated as ggml does it.

Only as many layers are run through as can differ: a graph returns to the same state of its memory
after equal layers, so each distinct pair of neighbours is kept twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from labdash.planner.ggml import PLAIN_TYPES
from labdash.planner.memory.allocator import Allocator
from labdash.planner.memory.builder import Batch, Place, Traits, Weight
from labdash.planner.memory.caches import Cells
from labdash.planner.memory.recipes import build
from labdash.planner.memory.scheduler import PIPELINE_COPIES, Rules, schedule
from labdash.planner.memory.split import HOST, Split
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
from labdash.planner.settings import Settings

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
# Pairs of neighbours that are kept: the second one finds the memory as all later ones do.
KEPT_PAIRS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A layer that is run through: the block that stands for its like, and its device."""

    block: int
    device: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a compute buffer follows from, beside the model."""

    steps: tuple[Step, ...]
    output: int
    batch: Batch
    traits: Traits
    rules: Rules
    override: str | None


def compute_bytes(
    model: Model, settings: Settings, split: Split, cells: Cells, *, whole: bool = False
) -> list[int]:
    """Return the bytes of each GPU's compute buffer, the host's last.

    ``whole`` runs through every layer, to see that leaving out equal ones changes nothing.
    """
    classes = _classes(model, settings.cpu_override)
    steps = [
        Step((classes.host if device == HOST else classes.gpu)[index], device)
        for index, device in enumerate(split.layers[: len(model.shape.layers)])
    ]
    run = Run(
        steps=tuple(steps if whole else distinct(steps)),
        output=split.output,
        batch=_batch(settings, cells),
        traits=_traits(settings),
        rules=_rules(settings, split),
        override=settings.cpu_override,
    )
    return list(_replay(model, run))


def distinct(steps: Sequence[Step]) -> list[Step]:
    """Leave out what repeats: a stretch that ends where it began, with no new neighbours."""
    kept: list[Step] = []
    seen: dict[tuple[Step, Step], int] = {}
    # Where a stretch of known neighbours began; the last layer is always kept.
    known_since = 0
    for step in steps[:-1]:
        pair = (kept[-1], step) if kept else None
        kept.append(step)
        if pair is None or seen.get(pair, 0) < KEPT_PAIRS:
            if pair is not None:
                seen[pair] = seen.get(pair, 0) + 1
            known_since = len(kept) - 1
        elif step in kept[known_since:-1]:
            del kept[kept.index(step, known_since) + 1 :]
    return [*kept, steps[-1]]


@dataclass(frozen=True, slots=True)
class _Classes:
    """The first block that is like each block, where it lies on a GPU and on the host."""

    gpu: tuple[int, ...]
    host: tuple[int, ...]


@lru_cache(maxsize=32)
def _classes(model: Model, override: str | None) -> _Classes:
    firsts: dict[object, int] = {}
    gpu, host = [], []
    blocks = parts_of(model, override).blocks
    for index, layer in enumerate(model.shape.layers):
        block = blocks[index]
        names = tuple((name, t.shape, _grouped(name, t)) for name, t in block.tensors.items())
        kept = tuple((name, block.tensors[name].bytes) for name in sorted(block.kept))
        sizes = tuple(t.bytes for t in block.tensors.values())
        gpu.append(firsts.setdefault((layer, names, kept), index))
        host.append(firsts.setdefault((layer, names, sizes), index))
    return _Classes(tuple(gpu), tuple(host))


def _grouped(name: str, tensor: Tensor) -> str | None:
    """Tell the type where the graph depends on it: experts that run together are of one type."""
    return tensor.type if name.endswith(("exps.weight", "shexp.weight")) else None


def is_pipelined(settings: Settings, split: Split) -> bool:
    """Tell whether batches run through several GPUs at once, which takes copies of what crosses."""
    return (
        len(settings.gpus) > 1
        and split.all_offloaded
        and settings.kv_offload
        and settings.pipeline
        and settings.cpu_override is None
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
        cells=cells.full,
        window_cells=cells.window,
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


@lru_cache(maxsize=4096)
def _replay(model: Model, run: Run) -> tuple[int, ...]:
    host = run.rules.gpu_count
    parts = parts_of(model, run.override)
    places = [
        _place(model, parts.blocks[step.block], step, host, kv_offload=run.traits.kv_offload)
        for step in run.steps
    ]
    # Equal layers stand for different ones: each needs tensors of its own.
    numbered = [Place(i, p.layer, p.weights, p.shapes, p.cache_home) for i, p in enumerate(places)]
    graph = build(model.shape, run.batch, run.traits, numbered, _ends(model, parts.output, run))
    plan = schedule(graph, run.rules)
    alignments = [GPU_ALIGNMENT] * host + [HOST_ALIGNMENT]
    return tuple(Allocator(alignments).run(plan.nodes, plan.leaves))


@lru_cache(maxsize=1024)
def _place(model: Model, block: Block, step: Step, host: int, *, kv_offload: bool) -> Place:
    device = host if step.device == HOST else step.device
    weights = {
        name: _weight(tensor, host if name in block.kept else device)
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
        name: _weight(tensor, host if name in output.kept else device)
        for name, tensor in output.tensors.items()
    }
    weights[TABLE] = _weight(model.table.ends[TABLE], host)
    shapes: Mapping[str, tuple[int, ...]] = {}
    return Place(-1, model.shape.layers[0], weights, shapes, host)


def _weight(tensor: Tensor, home: int) -> Weight:
    padding = 0 if tensor.type in PLAIN_TYPES else row_padding(tensor.type, tensor.shape[0])
    return Weight(tensor.bytes, padding, home, tensor.type)
