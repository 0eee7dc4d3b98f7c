"""Attention over a cache: llama-graph.cpp, build_qkv, build_attn and build_attn_mha."""

from labdash.planner.ggml import F16_BYTES
from labdash.planner.memory.builder import Batch, Builder
from labdash.planner.memory.graph import Node, compute, part_of_rows, view
from labdash.planner.shape import Layer

# fattn.cu, ggml_cuda_get_best_fattn_kernel: widths of K and V that a kernel exists for, some only
# where so many heads share one of the cache, or a multiple.
SQUARE_HEADS = frozenset((40, 64, 72, 80, 96, 112, 128, 256))
SHARED_HEADS = {(192, 128): 8, (320, 256): 32}
GROUPED_HEADS = frozenset(((512, 512), (576, 512)))
SCRATCH_ALIGNMENT = 128
# fattn.cu, ggml_cuda_fattn_kv_type_supported
GPU_CACHE_TYPES = frozenset(("f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"))
# What a default build compiled before it took every pair.
OLD_CACHE_TYPES = frozenset(("f32", "f16", "bf16", "q4_0", "q8_0"))


def project(
    b: Builder, source: Node, *, flat_norms: bool = False
) -> tuple[Node, Node | None, Node | None]:
    """Make Q, K and V as views of heads. K and V are None where an earlier layer's are read."""
    layer, tokens = b.place.layer, b.batch.tokens
    q = (layer.key_length, layer.heads, tokens)
    k = (layer.key_length, layer.heads_kv, tokens)
    v = (layer.value_length, layer.heads_kv, tokens)
    if b.has("attn_qkv.weight"):
        width = sum(head * count for head, count, _ in (q, k, v))
        joined = b.multiply("attn_qkv", source, width, tokens)
        return heads_of(joined, q), heads_of(joined, k), heads_of(joined, v)
    query = _heads(b, source, "attn_q", q, normed=flat_norms)
    if not layer.owns_cache:
        return query, None, None
    key = _heads(b, source, "attn_k", k, normed=flat_norms)
    if b.has("attn_v.weight"):
        return query, key, _heads(b, source, "attn_v", v, normed=False)
    # Layers without a matrix for V take K for it.
    return query, key, view("reshape", key.sources[0], v)


def heads_of(joined: Node, heads: tuple[int, int, int]) -> Node:
    """View some columns of a matrix as heads."""
    columns = part_of_rows(joined, heads[0] * heads[1])
    return view("view", joined, heads, columns.size)


def _heads(
    b: Builder, source: Node, name: str, shape: tuple[int, int, int], *, normed: bool
) -> Node:
    flat = b.multiply(name, source, shape[0] * shape[1], shape[2])
    return view("reshape", b.norm(flat, f"{name}_norm") if normed else flat, shape)


def attend(
    b: Builder,
    q: Node,
    k: Node | None,
    v: Node | None,
    *,
    caps: bool = False,
    projected: bool = True,
) -> Node:
    """Store K and V where there are new ones, read the cache, and project the result."""
    layer = b.place.layer
    q = b.rotate(q, "k", layer.key_length)
    if k is not None and v is not None:
        k = b.rotate(k, "k", layer.key_length)
        v = b.rotate(v, "v", layer.value_length)
    k_cache, v_cache = b.cache("k"), b.cache("v")
    order = (q, k, v) if b.windowed else (q, v, k)
    b.graph.expand(*(node for node in order if node is not None))
    if k is not None and v is not None:
        b.store(k_cache, k, "k")
        b.store(v_cache, v, "v")
    result = _mix(b, q, k_cache, v_cache, caps=caps)
    result = b.rotate(result, "v", layer.value_length)
    if projected:
        result = b.multiply("attn_output", result, b.shape.embd, b.batch.tokens)
    return result


def _mix(b: Builder, q: Node, k_cache: Node, v_cache: Node, *, caps: bool) -> Node:
    layer, tokens = b.place.layer, b.batch.tokens
    sinks = (b.weight("attn_sinks.weight"),) if b.has("attn_sinks.weight") else ()
    q = view("permute", q, q.shape)
    k = view("permute", k_cache, k_cache.shape)
    v = view("permute", v_cache, v_cache.shape)
    k.extra, v.extra = k_cache.extra, v_cache.extra
    width = layer.heads * layer.value_length
    if b.batch.flash_attn:
        out = flash(b, q, k, v, (layer.value_length, layer.heads, tokens), *sinks)
        result = view("reshape", out, (width, tokens))
    else:
        weights = scores(b, q, k, caps=caps, sinks=sinks)
        mixed = compute("mul_mat", (layer.value_length, tokens, layer.heads), v, weights)
        result = compute("cont", (width, tokens), view("permute", mixed, mixed.shape))
        if b.traits.pins_attention:
            result.pinned = b.traits.host
    b.graph.expand(result)
    return result


def scores(b: Builder, q: Node, k: Node, *, caps: bool, sinks: tuple[Node, ...] = ()) -> Node:
    """Weigh every cached token for every token of the batch, without flash attention."""
    shape = (b.cells, b.batch.tokens, b.place.layer.heads)
    kq = compute("mul_mat", shape, k, q)
    if caps:
        kq = compute("scale", shape, compute("unary", shape, compute("scale", shape, kq)))
    return compute("soft_max", shape, kq, b.mask, *sinks)


def flash(b: Builder, q: Node, k: Node, v: Node, shape: tuple[int, ...], *sinks: Node) -> Node:
    """Attend in one operation, with f16 copies of quantised caches behind its result on a GPU."""
    k, v = (_halved(each, kind) for each, kind in ((k, b.batch.type_k), (v, b.batch.type_v)))
    node = compute("flash_attn", shape, q, k, v, b.mask, *sinks)
    node.host_only = not runs_on_gpu(b.place.layer, b.batch, kv_pairs=b.traits.kv_pairs)
    if b.traits.scratch:
        end = node.size
        sides = (
            [(b.batch.type_k, k)]
            if v.view_of is k.view_of
            else [(b.batch.type_k, k), (b.batch.type_v, v)]
        )
        for kind, cache in sides:
            if kind not in ("f16", "f32"):
                end = -(-end // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT
                end += cache.shape[0] * cache.shape[1] * F16_BYTES
        node.extra = end - node.size
    return node


def _halved(cache: Node, kind: str) -> Node:
    """Convert an f32 cache, which flash attention does not read."""
    if kind != "f32":
        return cache
    return Node("cpy", cache.shape, F16_BYTES * cache.shape[0] * cache.shape[1], (cache,))


def runs_on_gpu(layer: Layer, batch: Batch, *, kv_pairs: bool) -> bool:
    """Tell whether CUDA has a flash attention kernel for a layer and its cache."""
    shared = layer.heads // max(layer.heads_kv, 1)
    fits = _has_kernel(layer.key_length, layer.value_length, shared)
    kinds = {batch.type_k, batch.type_v}
    if kv_pairs:
        return fits and kinds <= GPU_CACHE_TYPES
    return fits and len(kinds) == 1 and kinds <= OLD_CACHE_TYPES


def _has_kernel(key: int, value: int, shared: int) -> bool:
    if key == value and key in SQUARE_HEADS:
        return True
    if (key, value) in GROUPED_HEADS:
        return shared > 1
    step = SHARED_HEADS.get((key, value))
    return step is not None and shared % step == 0
