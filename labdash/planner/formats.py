"""Weights and caches of models that are no GGUF: safetensors, GPTQ, AWQ and MLX.

Tensors have the names and shapes of GGUF, rows first, whatever their type is there. A matrix of
``inputs`` by ``outputs`` is stored as:

- GPTQ (AutoGPTQ): packed integers, and for each group of inputs a packed zero and a 16-bit scale
  an output; for each input the 32-bit number of its group; a 16-bit bias an output, which GPTQModel
  leaves out where the model has none.
- AWQ (AutoAWQ, "GEMM"): the same without numbers of groups and without a bias of its own.
- MLX: packed integers, and for each group a 16-bit scale and a 16-bit bias.
- INT8 (LLM.int8 of bitsandbytes): one byte an element and a 32-bit scale an output.

GPTQ, AWQ and INT8 leave embeddings, output and routers in 16 bits; MLX quantizes them too, routers
of experts with eight bits. Norms, biases and vectors stay in 16 bits everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, prod

from labdash.planner.model import Tensor
from labdash.planner.shape import Layer, Shape

# Frequencies of the position embedding are computed, not stored, outside of GGUF.
COMPUTED = ("rope_freqs", "rope_factors")
ROUTER_BITS = 8
WHOLE_ROW = -1


@dataclass(frozen=True, slots=True)
class Plain:
    """Every element by itself: 32 bits, or 16 for FP16 and BF16."""

    bits: int = 16


@dataclass(frozen=True, slots=True)
class Int8:
    """Matrices of the blocks in eight bits with a scale an output."""


@dataclass(frozen=True, slots=True)
class Gptq:
    """``group_size`` ``WHOLE_ROW`` is one group for all inputs."""

    bits: int = 4
    group_size: int = 128


@dataclass(frozen=True, slots=True)
class Awq:
    """As GPTQ, in another order and without numbers of groups."""

    bits: int = 4
    group_size: int = 128


@dataclass(frozen=True, slots=True)
class Mlx:
    """Apple's: a row whose length is no multiple of the group stays in 16 bits."""

    bits: int = 4
    group_size: int = 64


type Format = Plain | Int8 | Gptq | Awq | Mlx


@dataclass(frozen=True, slots=True)
class Cache:
    """How an engine keeps keys and values.

    ``step`` is how many tokens it allocates at once: 16 in vLLM's pages, 256 in MLX. With a
    ``group_size`` each group has a 16-bit scale and a 16-bit bias, as MLX does below 16 bits.
    """

    bits: int = 16
    step: int = 16
    group_size: int | None = None


def weight_bytes(tensors: Iterable[Tensor], kind: Format) -> int:
    """Count the bytes of all tensors in a format, without the header of a file."""
    stored = (tensor for tensor in tensors if not tensor.name.startswith(COMPUTED))
    return sum(_stored_bytes(tensor, kind) for tensor in stored)


def cache_bytes(shape: Shape, ctx: int, cache: Cache) -> int:
    """Count keys and values of one sequence of ``ctx`` tokens, and the states in 32 bits."""
    states = sum(layer.recurrent for layer in shape.layers)
    state = shape.recurrent
    each = 4 * (state.conv_elements + state.state_elements) if state else 0
    rows = sum(
        _row_bits(layer, shape, cache) * _tokens(layer, shape, ctx, cache.step)
        for layer in shape.layers
    )
    return ceil(rows / 8) + states * each


def _tokens(layer: Layer, shape: Shape, ctx: int, step: int) -> int:
    seen = min(ctx, shape.window) if layer.window else ctx
    return ceil(seen / step) * step


def _row_bits(layer: Layer, shape: Shape, cache: Cache) -> float:
    """Count the bits of one token in the cache of a layer, 0 where it has none of its own."""
    if not layer.attention or not layer.owns_cache:
        return 0
    width = layer.key_width + layer.value_width
    if shape.mla:
        width = shape.mla.kv_lora_rank + shape.mla.rope_dim
    scales = 32 / cache.group_size if cache.group_size else 0
    return width * (cache.bits + scales)


def _stored_bytes(tensor: Tensor, kind: Format) -> int:
    elements = prod(tensor.shape)
    match kind:
        case Plain(bits):
            return elements * bits // 8
        case Mlx(bits, group_size) if _is_matrix(tensor) and tensor.shape[0] % group_size == 0:
            width = ROUTER_BITS if _is_router(tensor) else bits
            return elements * width // 8 + elements // group_size * 4
        case Int8() if _is_block_matrix(tensor):
            return elements + 4 * _outputs(tensor)
        case Gptq(bits, group_size) if _is_block_matrix(tensor):
            extra = 4 * (elements // _outputs(tensor)) * prod(tensor.shape[2:])
            return _packed_bytes(tensor, bits, group_size) + extra + 2 * _outputs(tensor)
        case Awq(bits, group_size) if _is_block_matrix(tensor):
            return _packed_bytes(tensor, bits, group_size)
        case _:
            return elements * 2


def _packed_bytes(tensor: Tensor, bits: int, group_size: int) -> int:
    """Count packed integers, and the zero and the 16-bit scale of each group and output."""
    inputs = tensor.shape[0]
    groups = 1 if group_size == WHOLE_ROW else ceil(inputs / group_size)
    return _outputs(tensor) * (inputs * bits + groups * (bits + 16)) // 8


def _outputs(tensor: Tensor) -> int:
    return prod(tensor.shape[1:])


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight") and "conv" not in tensor.name


def _is_block_matrix(tensor: Tensor) -> bool:
    return _is_matrix(tensor) and tensor.name.startswith("blk.") and not _is_router(tensor)


def _is_router(tensor: Tensor) -> bool:
    return "ffn_gate_inp" in tensor.name
