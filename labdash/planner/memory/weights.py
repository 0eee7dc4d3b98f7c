"""Where a model's tensors lie: llama-model-loader.cpp and llama-model.cpp, load_tensors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.planner.errors import PlannerError
from labdash.planner.memory.padding import GPU_ALIGNMENT, HOST_ALIGNMENT, rounded, row_padding
from labdash.planner.memory.split import Split
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import HOST, Moves

# llama-arch.cpp, LLM_TENSOR_LAYER_INPUT: looked up by row on the host, whatever is offloaded.
INPUT_TENSORS = frozenset(
    (
        "token_embd.weight",
        "per_layer_token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
    )
)
# Made for the first layer, though no part of its block.
FIRST_LAYER_TENSORS = frozenset(("per_layer_model_proj.weight", "per_layer_proj_norm.weight"))
# One copy on each device that has layers.
COPIED_TENSORS = frozenset(
    ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
)
# They make the output matrix before the table of tokens, so that a host holds both.
OUTPUT_MADE_FIRST = frozenset(("gemma3n", "gemma4"))
TABLE, OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bytes of a block: ``gpu`` where it lies on a GPU, ``host`` where it does not.

    ``moved`` tells the home of tensors that lie elsewhere; ``moved_bytes`` sums them by home and
    is in neither.
    """

    tensors: Mapping[str, Tensor]
    moved: Mapping[str, int]
    gpu: int
    host: int
    moved_bytes: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A model cut into what has one home each."""

    blocks: tuple[Block, ...]
    inputs: int
    output: Block
    copied_gpu: int
    copied_host: int


@lru_cache(maxsize=1024)
def weight_bytes(parts: Parts, split: Split, gpu_count: int) -> tuple[int, ...]:
    """Sum the bytes of each GPU, the host's last."""
    totals = [0] * (gpu_count + 1)
    for block, device in zip(parts.blocks, split.layers, strict=True):
        _count(totals, block, device)
    _count(totals, parts.output, split.output)
    totals[-1] += parts.inputs
    for device in set(split.layers):
        totals[device] += parts.copied_host if device == HOST else parts.copied_gpu
    return tuple(totals)


def _count(totals: list[int], block: Block, device: int) -> None:
    totals[device] += block.host if device == HOST else block.gpu
    for home, size in block.moved_bytes.items():
        totals[home] += size


@lru_cache(maxsize=256)
def parts_of(model: Model, moves: Moves) -> Parts:
    """Cut a model up."""
    patterns = [(matching(model, pattern), home) for pattern, home in moves]
    table = model.table
    first = {name: table.ends[name] for name in FIRST_LAYER_TENSORS & table.ends.keys()}
    # Blocks that predict further tokens are loaded only to draft with.
    trunk = range(len(model.shape.layers))
    members = [
        {**tensors, **({} if index else first)} if index in trunk else {}
        for index, tensors in enumerate(table.blocks)
    ]
    blocks = tuple(_block(tensors, _moved(tensors, patterns)) for tensors in members)
    elsewhere = INPUT_TENSORS | COPIED_TENSORS | FIRST_LAYER_TENSORS
    ends = {name: tensor for name, tensor in table.ends.items() if name not in elsewhere}
    if model.shape.tied:
        # The table is looked up on the host and multiplied where the output layer is.
        ends[OUTPUT] = table.ends[TABLE]
    output = _block(ends, _moved(ends, patterns))
    one_on_host = model.shape.tied and model.shape.arch not in OUTPUT_MADE_FIRST
    if one_on_host and OUTPUT not in output.moved:
        output = replace(output, host=output.host - host_bytes(table.ends[TABLE]))
    copied = [table.ends[name] for name in COPIED_TENSORS if name in table.ends]
    inputs = [table.ends[name] for name in INPUT_TENSORS if name in table.ends]
    return Parts(
        blocks=blocks,
        inputs=sum(map(host_bytes, inputs)),
        output=output,
        copied_gpu=sum(map(gpu_bytes, copied)),
        copied_host=sum(map(host_bytes, copied)),
    )


def _moved(
    tensors: Mapping[str, Tensor], patterns: Sequence[tuple[frozenset[str], int]]
) -> dict[str, int]:
    moved = {}
    for name, tensor in tensors.items():
        home = next((home for names, home in patterns if tensor.name in names), None)
        if home is not None:
            moved[name] = home
    return moved


@lru_cache(maxsize=1024)
def matching(model: Model, pattern: str) -> frozenset[str]:
    """Return the names of the tensors that a pattern means."""
    compiled = _pattern(pattern)
    return frozenset(tensor.name for tensor in model.tensors if compiled.search(tensor.name))


def _block(tensors: Mapping[str, Tensor], moved: Mapping[str, int]) -> Block:
    moved_bytes: dict[int, int] = {}
    for name, home in moved.items():
        size = host_bytes(tensors[name]) if home == HOST else gpu_bytes(tensors[name])
        moved_bytes[home] = moved_bytes.get(home, 0) + size
    staying = [tensor for name, tensor in tensors.items() if name not in moved]
    return Block(
        tensors=tensors,
        moved=moved,
        gpu=sum(map(gpu_bytes, staying)),
        host=sum(map(host_bytes, staying)),
        moved_bytes=moved_bytes,
    )


def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise PlannerError(f"the pattern of tensors is not one: {error}") from error


def gpu_bytes(tensor: Tensor) -> int:
    """Count what a GPU gives a tensor."""
    return rounded(tensor.bytes + row_padding(tensor.type, tensor.shape[0]), GPU_ALIGNMENT)


def host_bytes(tensor: Tensor) -> int:
    """Count what the host gives a tensor."""
    return rounded(tensor.bytes, HOST_ALIGNMENT)
