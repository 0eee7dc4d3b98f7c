"""What a graph follows from beside the model: the batch, the layers to run through, the build."""

from dataclasses import dataclass
from functools import lru_cache

from labdash.planner.memory.attention import runs_on_gpu
from labdash.planner.memory.builder import Batch, Traits
from labdash.planner.memory.caches import Cells
from labdash.planner.memory.scheduler import PIPELINE_COPIES, Rules
from labdash.planner.memory.split import Split
from labdash.planner.memory.walk import periodic_walk, short_walk
from labdash.planner.memory.weights import parts_of
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import HOST, Moves, Settings

# llama-context.cpp, graph_get_cb: layers keep their norms where all are offloaded, or below this.
FEW_TOKENS = 32
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


def run_of(
    model: Model, settings: Settings, split: Split, cells: Cells, *, whole: bool = False
) -> Run:
    """Tell what the graph of a load follows from."""
    batch = _batch(settings, cells)
    # Where every token gets logits, they go into what the layers before happen to leave free;
    # embeddings by layer and caches of earlier layers are brought to each layer on its own.
    whole = whole or batch.outputs == batch.tokens or model.crosses_layers
    traits, rules = _traits(settings, split, batch), _rules(settings, split)
    whole = whole or _copies_each_layer(model, batch, traits, rules)
    return Run(
        steps=steps_of(model, split, settings.all_moves, whole=whole),
        output=split.output,
        batch=batch,
        traits=traits,
        rules=rules,
        moves=settings.all_moves,
    )


@lru_cache(maxsize=1024)
def steps_of(model: Model, split: Split, moves: Moves, *, whole: bool = False) -> tuple[Step, ...]:
    """Tell the layers to run through."""
    classes = _classes(model, moves)
    steps = [
        Step((classes.host if device == HOST else classes.gpu)[index], device)
        for index, device in enumerate(split.layers[: len(model.shape.layers)])
    ]
    walk = periodic_walk if _is_varied(model) else short_walk
    return tuple(steps if whole else walk(steps))


def _is_varied(model: Model) -> bool:
    """Tell whether what a layer leaves in memory hangs on more than the layer before."""
    shape = model.shape
    rotated = {layer.rotated for layer in shape.layers}
    return shape.recurrent is not None or shape.deepstack > 0 or len(rotated) > 1


def _copies_each_layer(model: Model, batch: Batch, traits: Traits, rules: Rules) -> bool:
    """Tell whether a pipeline keeps copies of each layer, whose attention runs on the host."""
    if rules.copies == 1 or not batch.flash_attn:
        return False
    kinds = {layer for layer in model.shape.layers if layer.attention}
    return not all(runs_on_gpu(layer, batch, kv_pairs=traits.kv_pairs) for layer in kinds)


@dataclass(frozen=True, slots=True)
class _Classes:
    """The first block that is like each block, where it lies on a GPU and on the host."""

    gpu: tuple[int, ...]
    host: tuple[int, ...]


@lru_cache(maxsize=256)
def _classes(model: Model, moves: Moves) -> _Classes:
    kinds = _kinds(model)
    firsts: dict[object, int] = {}
    gpu, host = [], []
    for index, block in enumerate(parts_of(model, moves).blocks[: len(model.shape.layers)]):
        moved = tuple((name, home, block.tensors[name].bytes) for name, home in block.moved.items())
        gpu.append(firsts.setdefault(("gpu", kinds.gpu[index], moved), index))
        host.append(firsts.setdefault(("host", kinds.host[index], moved), index))
    return _Classes(tuple(gpu), tuple(host))


@lru_cache(maxsize=64)
def _kinds(model: Model) -> _Classes:
    """Tell the first block that is like each block where all of it stays together."""
    firsts: dict[object, int] = {}
    gpu, host = [], []
    blocks = parts_of(model, ()).blocks
    for index, layer in enumerate(model.shape.layers):
        tensors = blocks[index].tensors
        names = tuple((name, t.shape, _grouped(name, t)) for name, t in tensors.items())
        sizes = tuple(t.bytes for t in tensors.values())
        gpu.append(firsts.setdefault((layer, names), index))
        host.append(firsts.setdefault((layer, names, sizes), index))
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


def _traits(settings: Settings, split: Split, batch: Batch) -> Traits:
    number = settings.build
    return Traits(
        mixed_batches=number >= MIXED_BATCHES_SINCE,
        keeps_sums=number >= SUMS_KEPT_SINCE,
        keeps_routing=number >= ROUTING_KEPT_SINCE,
        groups_shared=number >= SHARED_GROUPED_SINCE,
        scratch=number >= SCRATCH_SINCE,
        kv_pairs=number >= KV_PAIRS_SINCE,
        kv_offload=settings.kv_offload,
        pins_norms=not settings.dry_run and (split.all_offloaded or batch.tokens < FEW_TOKENS),
        pins_attention=not settings.dry_run and not settings.kv_offload,
        host=len(settings.gpus),
    )
