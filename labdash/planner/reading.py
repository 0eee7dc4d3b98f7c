"""What is read of a model for one token: the bytes that decide over its speed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from labdash.planner.ggml import row_bytes
from labdash.planner.model import Model, Tensor, place_of
from labdash.planner.shape import Layer, Shape
from labdash.planner.speed import Part, SpeedClass

I_QUANTS = ("iq1_", "iq2_", "iq3_")
STATE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU or the host's memory. ``bandwidth_gbs`` is None where it is not known."""

    name: str
    speed_class: SpeedClass
    bandwidth_gbs: float | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Indices of the layers on a device; the number of blocks stands for the output layer."""

    device: Device
    layers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Context:
    """How much of the cache is filled, in tokens, and how it is stored."""

    tokens: int
    type_k: str = "f16"
    type_v: str = "f16"


def bytes_read_per_layer(model: Model, *, only: str | None = None) -> list[int]:
    """Count the weights read for a token by block, the output layer last.

    Experts count by how many of them are used. The table of token embeddings gives one row, so
    it counts nothing, but for a model whose output layer it is too. Blocks behind the trunk, which
    predict further tokens, are not run. ``only`` is a regular expression that names must match.
    """
    shape = model.shape
    share = shape.experts.used / shape.experts.count if shape.experts else 1.0
    read = [0] * (shape.block_count + 1)
    for tensor in model.tensors:
        index = _layer_of(tensor.name, shape)
        if index is not None and (only is None or re.search(only, tensor.name)):
            read[index] += _read_of(tensor, share)
    return read


def cache_read_per_layer(shape: Shape, context: Context) -> list[int]:
    """Count the cache and the state that a token reads by block, the output layer last."""
    trunk = [_cache_of(layer, shape, context) for layer in shape.layers]
    return trunk + [0] * (shape.nextn + 1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a token reads of a model, once for all splits. ``moved`` is read by the host."""

    shape: Shape
    weights: tuple[int, ...]
    moved: tuple[int, ...]
    i_quant_share: float


def read_model(model: Model, *, cpu_override: str | None = None) -> Reading:
    """Sum up a model. Tensors that match ``cpu_override`` are read by the host."""
    weights = bytes_read_per_layer(model)
    moved = [0] * len(weights)
    if cpu_override is not None:
        moved = bytes_read_per_layer(model, only=cpu_override)
    return Reading(model.shape, tuple(weights), tuple(moved), i_quant_share(model.tensors))


def generation_parts(
    reading: Reading, placement: Sequence[Placed], context: Context, *, host: Device | None = None
) -> tuple[list[Part], int]:
    """Tell what each device does for a token, and how often the token passes between them.

    ``host`` reads what was moved; each block of it is a way there and back.
    """
    cache = cache_read_per_layer(reading.shape, context)
    parts = []
    for placed in placement:
        sizes = [reading.weights[i] - reading.moved[i] + cache[i] for i in placed.layers]
        if sizes:
            parts.append(_part(placed.device, sizes, share=reading.i_quant_share))
    hops = max(len(parts) - 1, 0)
    moved = [size for size in reading.moved if size]
    if host is not None and moved:
        parts.append(_part(host, moved, share=reading.i_quant_share))
        hops += 2 * len(moved)
    return parts, hops


def i_quant_share(tensors: Sequence[Tensor]) -> float:
    """Tell the share of the weights in types that cost computing besides reading."""
    total = sum(tensor.bytes for tensor in tensors)
    slow = sum(tensor.bytes for tensor in tensors if tensor.type.startswith(I_QUANTS))
    return slow / total if total else 0.0


def _part(device: Device, sizes: Sequence[int], *, share: float) -> Part:
    return Part(device.speed_class, device.bandwidth_gbs, sum(sizes), len(sizes), share)


def _layer_of(name: str, shape: Shape) -> int | None:
    """Tell which layer reads a tensor, None where a token reads next to nothing of it."""
    index, _ = place_of(name)
    if index is not None:
        return index if index < len(shape.layers) else None
    if name.startswith("output") or (shape.tied and name == "token_embd.weight"):
        return shape.block_count
    return None


def _read_of(tensor: Tensor, expert_share: float) -> int:
    is_expert = "_exps." in tensor.name or "_chexps." in tensor.name
    return round(tensor.bytes * expert_share) if is_expert else tensor.bytes


def _cache_of(layer: Layer, shape: Shape, context: Context) -> int:
    return _rows_of(layer, shape, context) + _state_of(layer, shape)


def _rows_of(layer: Layer, shape: Shape, context: Context) -> int:
    if not layer.attention:
        return 0
    tokens = min(context.tokens, shape.window) if layer.window else context.tokens
    if shape.mla:
        return tokens * row_bytes(context.type_k, shape.mla.kv_lora_rank + shape.mla.rope_dim)
    keys = row_bytes(context.type_k, layer.key_width)
    return tokens * (keys + row_bytes(context.type_v, layer.value_width))


def _state_of(layer: Layer, shape: Shape) -> int:
    """Count a state, which is read and written."""
    if not layer.recurrent or shape.recurrent is None:
        return 0
    return 2 * STATE_BYTES * (shape.recurrent.conv_elements + shape.recurrent.state_elements)
