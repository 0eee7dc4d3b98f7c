"""Multi-head latent attention, with compressed rows in its cache or without: deepseek2.cpp."""

from labdash.planner.ggml import row_bytes
from labdash.planner.memory.attention import attend, flash, scores
from labdash.planner.memory.builder import Builder
from labdash.planner.memory.graph import Node, compute, view
from labdash.planner.shape import Mla


def latent(b: Builder, source: Node) -> Node:
    """Compress, rotate a part, attend over the compressed rows, and decompress."""
    mla = b.shape.mla
    assert mla is not None  # noqa: S101 - the caller looked
    heads, tokens = b.place.layer.heads, b.batch.tokens
    nope = mla.key_length - mla.rope_dim
    q = view("reshape", _query(b, source), (mla.key_length, heads, tokens))
    row = mla.kv_lora_rank + mla.rope_dim
    packed = b.multiply("attn_kv_a_mqa", source, row, tokens)
    compressed = view("view", packed, (mla.kv_lora_rank, tokens))
    k_rope = b.rope(view("view", packed, (mla.rope_dim, 1, tokens)))
    compressed = b.norm(compressed, "attn_kv_a_norm")
    q_rope = b.rope(view("view", q, (mla.rope_dim, heads, tokens)))
    q_nope = view("permute", view("view", q, (nope, heads, tokens)), (nope, tokens, heads))
    absorbed = compute(
        "mul_mat", (mla.kv_lora_rank, tokens, heads), b.weight("attn_k_b.weight"), q_nope,
        rows=tokens,
    )  # fmt: skip
    absorbed = view("permute", absorbed, (mla.kv_lora_rank, heads, tokens))
    query = compute("concat", (row, heads, tokens), absorbed, q_rope)
    value = view("reshape", compressed, (mla.kv_lora_rank, 1, tokens))
    key = compute("concat", (row, 1, tokens), value, k_rope)
    return _attend(b, query, key, value, mla)


def decompressed(b: Builder, source: Node) -> Node:
    """Open the compressed row into K and V of every head, as files of before 2025 have it."""
    layer, tokens = b.place.layer, b.batch.tokens
    heads, key, value = layer.heads, layer.key_length, layer.value_length
    rank = b.place.shapes["attn_kv_a_norm.weight"][0]
    row = b.place.shapes["attn_kv_a_mqa.weight"][1]
    q = view("reshape", _query(b, source), (key, heads, tokens))
    packed = b.multiply("attn_kv_a_mqa", source, row, tokens)
    compressed = view("view", packed, (rank, tokens))
    k_rope = b.rope(view("view", packed, (row - rank, 1, tokens)))
    compressed = b.norm(compressed, "attn_kv_a_norm")
    nope = key - (row - rank)
    opened = b.multiply("attn_kv_b", compressed, heads * (nope + value), tokens)
    k_nope = view("view", opened, (nope, heads, tokens))
    v = compute("cont", (value, heads, tokens), view("view", opened, (value, heads, tokens)))
    q = b.rope(q)
    repeated = compute("repeat", (row - rank, heads, tokens), k_rope)
    k = compute("concat", (key, heads, tokens), k_nope, repeated)
    return attend(b, q, k, v)


def _query(b: Builder, source: Node) -> Node:
    layer = b.place.layer
    width = (b.shape.mla or layer).key_length * layer.heads
    if b.has("attn_q.weight"):
        return b.multiply("attn_q", source, width, b.batch.tokens)
    rank = b.place.shapes["attn_q_a.weight"][1]
    small = b.norm(b.multiply("attn_q_a", source, rank, b.batch.tokens), "attn_q_a_norm")
    return b.multiply("attn_q_b", small, width, b.batch.tokens)


def _attend(b: Builder, query: Node, key: Node, value: Node, mla: Mla) -> Node:
    heads, tokens = b.place.layer.heads, b.batch.tokens
    cache = b.cache("k")
    b.graph.expand(query, value, key)
    b.store(cache, key, "k")
    q = view("permute", query, query.shape)
    k = view("permute", cache, cache.shape)
    k.extra = cache.extra
    v = view("permute", k, cache.shape)
    v.extra = cache.extra
    rank, width = mla.kv_lora_rank, mla.value_length
    wide = (width, tokens, heads)
    up = b.weight("attn_v_b.weight")
    if b.batch.flash_attn:
        mixed = view("permute", flash(b, q, k, v, (rank, heads, tokens)), (rank, tokens, heads))
        opened = compute("mul_mat", wide, up, mixed, rows=tokens)
        joined = compute("cont", (width, heads, tokens), view("permute", opened, wide))
        result = view("reshape", joined, (width * heads, tokens))
    else:
        weights = scores(b, q, k, caps=False)
        size = row_bytes(b.batch.type_k, rank) * b.cells * b.batch.streams
        turned = Node("cont", (b.cells, rank), size, (view("transpose", v, v.shape),))
        mixed = compute("mul_mat", (rank, tokens, heads), turned, weights)
        opened = compute("mul_mat", wide, up, mixed, rows=tokens)
        result = compute("cont", (width * heads, tokens), view("permute", opened, wide))
        if b.traits.pins_attention:
            result.pinned = b.traits.host
    b.graph.expand(result)
    return b.multiply("attn_output", result, b.shape.embd, tokens)
