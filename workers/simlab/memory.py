"""What a simulated load takes, by sums over the tensor table and by recorded figures.

Nothing here is shared with the planner: the simulation must be able to disagree with it. Weights
and cache are exact sums. The compute buffer is looked up in recorded runs of llama.cpp, and a
load whose buffer was never recorded is refused.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

from workers.simlab.catalog import SimModel, SimTensor, SimVariant, models
from workers.simlab.loads import LoadRefused, LoadRequest

MIB = 1024**2
# Elements and bytes of one block of each tensor type.
BLOCKS = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "MXFP4": (32, 17),
}
GPU_ALIGNMENT, HOST_ALIGNMENT = 128, 64
# CUDA kernels read quantised rows in steps of this many elements.
GPU_ROW_STEP = 512
# One block in so many attends to the whole context, the others to a window (the last of a group).
WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2}
# Interpolation was seen to hold from this context up, between points at most this far apart.
LEAST_POINT, GREATEST_STEP = 2048, 4


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _row_bytes(kind: str, elements: int) -> int:
    block, size = BLOCKS[kind]
    return elements // block * size


def _gpu_bytes(kind: str, shape: tuple[int, ...]) -> int:
    size = _row_bytes(kind, prod(shape))
    block = BLOCKS[kind][0]
    if block > 1 and shape[0] % GPU_ROW_STEP:
        size += _row_bytes(kind, GPU_ROW_STEP - shape[0] % GPU_ROW_STEP)
    return _round_up(size, GPU_ALIGNMENT)


def _host_bytes(tensor: SimTensor) -> int:
    return _round_up(_row_bytes(tensor.type, prod(tensor.shape)), HOST_ALIGNMENT)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes of a file's parts. ``gpu`` and ``host``: each block in order, then the output."""

    gpu: tuple[int, ...]
    host: tuple[int, ...]
    host_input: int
    """The token embedding, which never leaves the host."""
    tied: bool
    """The output is the token embedding; on a GPU it is a second copy."""
    shared: int
    """Small tables that each GPU holds again."""


@cache
def weights(model: str, quant: str) -> Weights:
    """Sum one file's tensors."""
    entry = models()[model]
    return _weights(entry.variants[quant], entry.block_count)


def _weights(variant: SimVariant, blocks: int) -> Weights:
    gpu, host = [0] * (blocks + 1), [0] * (blocks + 1)
    shared = host_input = 0
    embedding = next(t for t in variant.tensors if t.name == "token_embd.weight")
    tied = not any(t.name == "output.weight" for t in variant.tensors)
    for tensor in variant.tensors:
        if tensor is embedding:
            host_input = _host_bytes(tensor)
        elif tensor.name.startswith("rope_"):
            shared += _gpu_bytes(tensor.type, tensor.shape)
        else:
            unit = int(tensor.name.split(".")[1]) if tensor.name.startswith("blk.") else blocks
            gpu[unit] += _gpu_bytes(tensor.type, tensor.shape)
            host[unit] += _host_bytes(tensor)
    if tied:
        gpu[blocks] += _gpu_bytes(embedding.type, embedding.shape)
    return Weights(
        gpu=tuple(gpu), host=tuple(host), host_input=host_input, tied=tied, shared=shared
    )


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Bytes of one block's cache.

    ``hidden``: missing from the sizes that Ollama tells since 0.30. It reads them in the engine's
    log, where the line of the window's cache takes the place of the one for the whole context.
    """

    size_bytes: int
    hidden: bool


def caches(request: LoadRequest) -> tuple[Cache, ...]:
    """Sum the KV cache of each block, all slots together."""
    model = models()[request.model]
    return tuple(_cache(model, request, block) for block in range(model.block_count))


def _cache(model: SimModel, request: LoadRequest, block: int) -> Cache:
    windowed = _is_windowed(model, block)
    cells = _cells(request)
    if windowed:
        window = model.metadata[f"{model.architecture}.attention.sliding_window"]
        batch = min(request.batch, total_context(request))
        cells = min(cells, _round_up(min(cells, window + batch), 256))
    size = sum(
        _gpu_bytes(request.kv_type.upper(), (_width(model, part), cells, request.parallel))
        for part in ("key_length", "value_length")
    )
    hidden = model.architecture in WINDOW_PERIODS and not windowed
    return Cache(size_bytes=size, hidden=hidden)


def output_bytes(request: LoadRequest) -> int:
    """Size of the logits that are kept for the reader, one row a slot."""
    model = models()[request.model]
    vocabulary = model.metadata[f"{model.architecture}.vocab_size"]
    return 4 * int(vocabulary) * request.parallel


def total_context(request: LoadRequest) -> int:
    """Tokens over all slots, as llama.cpp rounds them."""
    return _round_up(request.context_length * request.parallel, 256)


def _cells(request: LoadRequest) -> int:
    return _round_up(total_context(request) // request.parallel, 256)


def _is_windowed(model: SimModel, block: int) -> bool:
    period = WINDOW_PERIODS.get(model.architecture)
    return period is not None and block % period < period - 1


def _width(model: SimModel, part: str) -> int:
    attention = f"{model.architecture}.attention"
    heads = model.metadata[f"{attention}.head_count_kv"]
    return int(heads * model.metadata[f"{attention}.{part}"])


def recorded_compute(request: LoadRequest, *, devices: int, layers: int) -> tuple[int, ...] | None:
    """Look up the bytes of the compute buffer on each device, the host last.

    ``layers`` counts those on GPUs, the output included. ``None`` where nothing was recorded.
    """
    model = models()[request.model]
    context = total_context(request)
    series = [entry for entry in model.compute if _matches(entry, request, devices)]
    if layers > model.block_count:
        found = (
            _at_context(entry["points"], context) for entry in series if entry["ngl"] == layers
        )
        values = next((value for value in found if value is not None), None)
    else:
        values = _at_layers(series, request.quant, context, layers)
    return None if values is None else tuple(round(value * MIB) for value in values)


def compute(request: LoadRequest, *, devices: int, layers: int) -> tuple[int, ...]:
    """Look up as ``recorded_compute`` does, or refuse the load."""
    values = recorded_compute(request, devices=devices, layers=layers)
    if values is None:
        raise LoadRefused(500, not_recorded(request, devices=devices, layers=layers))
    return values


def _matches(entry: dict[str, Any], request: LoadRequest, devices: int) -> bool:
    return bool(
        entry["type_k"] == entry["type_v"] == request.kv_type
        and entry["n_seq"] == entry["n_outputs_max"] == request.parallel
        and entry["n_ubatch"] == request.batch
        and entry["fa"] == request.flash_attention
        and entry["n_devices"] == devices
    )


def _at_context(points: list[list[Any]], context: int) -> tuple[float, ...] | None:
    """Take a recorded point, or a value between two of them that lie near enough."""
    for at, values in points:
        if at == context:
            return tuple(values)
    for (low, before), (high, after) in pairwise(points):
        if LEAST_POINT <= low < context < high <= low * GREATEST_STEP:
            share = (context - low) / (high - low)
            return tuple(a + (b - a) * share for a, b in zip(before, after, strict=True))
    return None


def _at_layers(
    series: list[dict[str, Any]], quant: str, context: int, layers: int
) -> tuple[float, ...] | None:
    """Find a split between GPU and host, where weights of the host pass through the buffer.

    So the figure holds for one quant alone, and between two recorded numbers of layers only
    where both have the same.
    """
    known = {
        entry["ngl"]: _at_context(entry["points"], context)
        for entry in series
        if entry["quant"] == quant
    }
    if layers in known:
        return known[layers]
    below = max((count for count in known if count < layers), default=None)
    above = min((count for count in known if count > layers), default=None)
    if below is None or above is None or known[below] != known[above]:
        return None
    return known[below]


def not_recorded(request: LoadRequest, *, devices: int, layers: int) -> str:
    """Say which figure the simulation lacks."""
    return (
        f"not recorded: the simulation has no compute buffer of {request.model} {request.quant} "
        f"for context {request.context_length} x {request.parallel}, batch {request.batch}, "
        f"{request.kv_type} cache, {layers} layers on {devices} GPU(s)"
    )
