"""Where a model's tensors lie: llama-model-loader.cpp and llama-model.cpp, load_tensors."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from labdash.planner.errors import PlannerError
from labdash.planner.ggml import PLAIN_TYPES, row_bytes
from labdash.planner.memory.split import HOST, Split
from labdash.planner.model import Model, Tensor

# ggml-cuda.cu and ggml-backend.cpp: where a tensor may begin in a buffer.
GPU_ALIGNMENT = 128
HOST_ALIGNMENT = 64
# ggml-cuda.cu, MATRIX_ROW_PADDING
ROW_PADDING = 512
# llama-arch.cpp, LLM_TENSOR_LAYER_INPUT: looked up by row on the host, whatever is offloaded.
INPUT_TENSORS = frozenset(
    (
        "token_embd.weight",
        "per_layer_token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
    )
)
# One copy on each device that has layers.
COPIED_TENSORS = frozenset(
    ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
)
# They make the output matrix before the table of tokens, so that a host holds both.
OUTPUT_MADE_FIRST = frozenset(("gemma3n", "gemma4"))
TABLE, OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bytes of a block by where it lies. ``kept`` names the tensors that stay on the host.

    ``gpu`` and ``kept_bytes`` are what a GPU and the host hold where the block is on a GPU,
    ``host`` what the host holds where it is not.
    """

    tensors: Mapping[str, Tensor]
    kept: frozenset[str]
    gpu: int
    kept_bytes: int
    host: int


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A model cut into what has one home each."""

    blocks: tuple[Block, ...]
    inputs: int
    output: Block
    copied_gpu: int
    copied_host: int


@lru_cache(maxsize=4096)
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
    if device == HOST:
        totals[-1] += block.host
    else:
        totals[device] += block.gpu
        totals[-1] += block.kept_bytes


@lru_cache(maxsize=32)
def parts_of(model: Model, override: str | None) -> Parts:
    """Cut a model up. Tensors that match ``override`` stay on the host."""
    pattern = _pattern(override)
    table = model.table
    blocks = tuple(
        _block(tensors, _kept(tensors.values(), pattern, f"blk.{index}."))
        for index, tensors in enumerate(table.blocks)
    )
    ends = {
        name: tensor
        for name, tensor in table.ends.items()
        if name not in INPUT_TENSORS and name not in COPIED_TENSORS
    }
    if model.shape.tied:
        # The table is looked up on the host and multiplied where the output layer is.
        ends[OUTPUT] = table.ends[TABLE]
    kept = frozenset(name for name in ends if pattern and pattern.search(ends[name].name))
    output = _block(ends, kept)
    if model.shape.tied and model.shape.arch not in OUTPUT_MADE_FIRST:
        # On the host both are one tensor.
        shared = host_bytes(table.ends[TABLE])
        kept_bytes = output.kept_bytes - (shared if OUTPUT in kept else 0)
        output = Block(ends, kept, output.gpu, kept_bytes, output.host - shared)
    copied = [table.ends[name] for name in COPIED_TENSORS if name in table.ends]
    inputs = [table.ends[name] for name in INPUT_TENSORS if name in table.ends]
    return Parts(
        blocks=blocks,
        inputs=sum(map(host_bytes, inputs)),
        output=output,
        copied_gpu=sum(map(gpu_bytes, copied)),
        copied_host=sum(map(host_bytes, copied)),
    )


def _kept(
    tensors: Iterable[Tensor], pattern: re.Pattern[str] | None, prefix: str
) -> frozenset[str]:
    if pattern is None:
        return frozenset()
    return frozenset(t.name.removeprefix(prefix) for t in tensors if pattern.search(t.name))


def _block(tensors: Mapping[str, Tensor], kept: frozenset[str]) -> Block:
    sizes = {name: host_bytes(tensor) for name, tensor in tensors.items()}
    return Block(
        tensors=tensors,
        kept=kept,
        gpu=sum(gpu_bytes(tensor) for name, tensor in tensors.items() if name not in kept),
        kept_bytes=sum(sizes[name] for name in kept),
        host=sum(sizes.values()),
    )


def _pattern(override: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(override) if override else None
    except re.error as error:
        raise PlannerError(f"the pattern of tensors is not one: {error}") from error


def gpu_bytes(tensor: Tensor) -> int:
    """Count what a GPU gives a tensor."""
    return _rounded(tensor.bytes + row_padding(tensor.type, tensor.shape[0]), GPU_ALIGNMENT)


def host_bytes(tensor: Tensor) -> int:
    """Count what the host gives a tensor."""
    return _rounded(tensor.bytes, HOST_ALIGNMENT)


@lru_cache(maxsize=4096)
def row_padding(kind: str, row: int) -> int:
    """Count what fills the last row of a quantised tensor on a GPU."""
    if kind in PLAIN_TYPES or row % ROW_PADDING == 0:
        return 0
    return row_bytes(kind, ROW_PADDING - row % ROW_PADDING)


def _rounded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
