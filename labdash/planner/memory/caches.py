"""KV cache and recurrent state: llama-kv-cache.cpp and llama-memory-recurrent.cpp."""

from dataclasses import dataclass

from labdash.planner.errors import PlannerError
from labdash.planner.ggml import F32_BYTES, PLAIN_TYPES, TYPES, row_bytes
from labdash.planner.memory.padding import GPU_ALIGNMENT, rounded, row_padding
from labdash.planner.settings import CACHE_TYPES, Settings
from labdash.planner.shape import Layer, Shape

# llama-context.cpp: contexts and caches are padded to this many tokens.
CELL_PADDING = 256
# llama-cparams.h, LLAMA_MAX_SEQ; contexts and batches are 32-bit numbers.
MOST_SLOTS = 256
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Tokens that a stream's caches hold. ``streams`` slots have a cache of their own."""

    full: int
    window: int
    streams: int
    ubatch: int


def count_cells(shape: Shape, settings: Settings) -> Cells:
    """Count the cache's cells. The context is rounded up, and shared by slots or divided."""
    _require_settings(settings)
    ctx = pad(settings.ctx or shape.ctx_train)
    if not ctx:
        raise PlannerError("the model does not say its context: give one with --ctx")
    streams = 1 if settings.unified_kv else settings.parallel
    cells = ctx if settings.unified_kv else pad(ctx // settings.parallel)
    ubatch = min(ctx, settings.batch, settings.ubatch)
    window = cells
    if shape.window and not settings.swa_full:
        slots = settings.parallel if settings.unified_kv else 1
        window = pad(min(cells, shape.window * slots + ubatch))
    return Cells(cells, window, streams, ubatch)


def _require_settings(settings: Settings) -> None:
    if settings.ctx < 0:
        raise PlannerError(f"a context cannot be negative: {settings.ctx}")
    if settings.ctx > MOST_TOKENS:
        raise PlannerError(f"a context has at most {MOST_TOKENS} tokens")
    if settings.parallel < 1:
        raise PlannerError(f"there is at least one slot: {settings.parallel}")
    if settings.parallel > MOST_SLOTS:
        raise PlannerError(f"there are at most {MOST_SLOTS} slots")
    if min(settings.batch, settings.ubatch) < 1:
        raise PlannerError("a batch holds at least one token")
    if max(settings.batch, settings.ubatch) > MOST_TOKENS:
        raise PlannerError(f"a batch holds at most {MOST_TOKENS} tokens")
    if settings.outputs is not None and settings.outputs < 0:
        raise PlannerError("the tokens with logits cannot be negative; 0 is all of a batch")


def pad(count: int) -> int:
    """Round up to whole blocks of cells."""
    return rounded(count, CELL_PADDING)


def require_cache_types(shape: Shape, *, type_k: str, type_v: str, flash_attn: bool) -> None:
    """Refuse what llama.cpp refuses: llama-context.cpp, llama_init_from_model."""
    for kind in (type_k, type_v):
        if kind not in CACHE_TYPES:
            raise PlannerError(f"KV type {kind} is unknown; there are {', '.join(CACHE_TYPES)}")
    if type_v not in PLAIN_TYPES and not flash_attn:
        raise PlannerError(f"KV type {type_v} for V needs flash attention")
    if shape.mla and type_k != type_v:
        raise PlannerError(
            f"{shape.arch} keeps K and V in one cache: they need the same KV type, not "
            f"{type_k} and {type_v}"
        )
    heads = {(each.key_length, each.value_length) for each in shape.layers if each.attention}
    for key, value in heads:
        _require_blocks("K", type_k, key)
        _require_blocks("V", type_v, value)


def _require_blocks(side: str, kind: str, head: int) -> None:
    block = TYPES[kind].block
    if head % block:
        raise PlannerError(
            f"KV type {kind} needs heads that are a multiple of {block} wide: {side} has {head}"
        )


def layer_bytes(
    shape: Shape, layer: Layer, settings: Settings, cells: Cells, *, on_gpu: bool
) -> int:
    """Sum a layer's cache and state. A GPU fills up the last row of a quantised cache."""
    total = 0
    if layer.attention and layer.owns_cache:
        count = (cells.window if layer.window else cells.full) * cells.streams
        k, v = cache_widths(shape, layer, settings)
        for kind, width in ((settings.type_k, k), (settings.type_v, v)):
            if width:
                size = count * row_bytes(kind, width)
                filled = rounded(size + row_padding(kind, width), GPU_ALIGNMENT)
                total += filled if on_gpu else size
    if layer.recurrent and shape.recurrent is not None:
        state = shape.recurrent
        total += F32_BYTES * settings.parallel * (state.conv_elements + state.state_elements)
    return total


def cache_widths(shape: Shape, layer: Layer, settings: Settings) -> tuple[int, int]:
    """Say the elements of a token's rows in K and V.

    With latent attention V is a view of K. Without flash attention V is stored transposed, and
    every layer's rows are as wide as the widest one's where they differ.
    """
    if shape.mla:
        return shape.mla.kv_lora_rank + shape.mla.rope_dim, 0
    if settings.flash_attn:
        return layer.key_width, layer.value_width
    return layer.key_width, widest_value(shape)


def widest_value(shape: Shape) -> int:
    """Say the widest row of V of any layer."""
    return max((layer.value_width for layer in shape.layers if layer.attention), default=0)
