"""Layers that keep a state: delta-net-base.cpp, qwen3next.cpp and qwen35moe.cpp in src/models."""

from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.attention import attend, heads_of
from labdash.planner.memory.builder import Builder
from labdash.planner.memory.graph import Node, compute, view


def gated(b: Builder, source: Node) -> Node:
    """Attend with a query that brings a gate for the result."""
    layer, tokens = b.place.layer, b.batch.tokens
    width = layer.heads * layer.value_length
    q_shape = (layer.key_length, layer.heads, tokens)
    k_shape = (layer.key_length, layer.heads_kv, tokens)
    both = b.multiply("attn_q", source, 2 * layer.key_length * layer.heads, tokens)
    q = b.rope(b.norm(view("view", both, q_shape), "attn_q_norm"))
    k_flat = b.multiply("attn_k", source, layer.key_width, tokens)
    v_flat = b.multiply("attn_v", source, layer.value_width, tokens)
    k = b.rope(b.norm(view("reshape", k_flat, k_shape), "attn_k_norm"))
    v = view("reshape", v_flat, (layer.value_length, layer.heads_kv, tokens))
    gate = compute("cont", (width, tokens), view("view", both, q_shape))
    mixed = attend(b, q, k, v, projected=False)
    weighed = compute("mul", (width, tokens), mixed, compute("unary", (width, tokens), gate))
    return b.multiply("attn_output", weighed, b.shape.embd, tokens)


def delta_net(b: Builder, source: Node) -> Node:
    """Run a gated delta net over the batch."""
    tokens, slots = b.batch.tokens, b.batch.slots
    heads = b.place.shapes["ssm_a"][0]
    inner = b.place.shapes["ssm_out.weight"][0]
    kernel, channels = b.place.shapes["ssm_conv1d.weight"]
    head = inner // heads
    groups = (channels - inner) // (2 * head)
    mixed, z = _inputs(b, source, channels, inner)
    beta, gate = _gates(b, source, heads)
    convolved = convolve(b, mixed, kernel, channels)
    state = b.state("s", head * head * heads)
    keys = (head, groups, tokens)
    q, k = (compute("l2_norm", keys, heads_of(convolved, keys)) for _ in range(2))
    v = heads_of(convolved, (head, heads, tokens))
    if b.shape.arch == "qwen3next" and groups != heads:
        q, k = (_repeat(each, v.shape) for each in (q, k))
    rolled = view("reshape", state, (head, head, heads, slots))
    shape = (inner, tokens + head * slots)
    result = compute("gated_delta_net", shape, q, k, v, gate, beta, rolled)
    b.keep_state("s", view("view", result, rolled.shape, rolled.size))
    output = view("view", result, (head, heads, tokens), F32_BYTES * inner * tokens)
    normed = b.norm(output, "ssm_norm")
    opened = compute("unary", normed.shape, view("reshape", z, normed.shape))
    final = compute("mul", normed.shape, normed, opened)
    flat = view("reshape", final, (inner, tokens))
    return view(
        "reshape", b.multiply("ssm_out", flat, b.shape.embd, tokens), (b.shape.embd, tokens)
    )


def _inputs(b: Builder, source: Node, channels: int, inner: int) -> tuple[Node, Node]:
    tokens = b.batch.tokens
    mixed = view("reshape", b.multiply("attn_qkv", source, channels, tokens), (channels, tokens))
    return mixed, b.multiply("attn_gate", source, inner, tokens)


def _gates(b: Builder, source: Node, heads: int) -> tuple[Node, Node]:
    shape = (heads, b.batch.tokens)
    if b.has("ssm_ba.weight"):
        both = b.multiply("ssm_ba", source, 2 * heads, b.batch.tokens)
        beta = compute("unary", shape, compute("cont", shape, view("view", both, shape)))
        alpha = compute("cont", shape, view("view", both, shape))
        return view("reshape", beta, shape), _decay(b, alpha)
    beta = compute("unary", shape, view("reshape", b.multiply("ssm_beta", source, *shape), shape))
    alpha = view("reshape", b.multiply("ssm_alpha", source, *shape), shape)
    return beta, _decay(b, alpha)


def _decay(b: Builder, alpha: Node) -> Node:
    shape = alpha.shape
    alpha = compute("add", shape, alpha, b.weight("ssm_dt.bias"))
    gate = compute("mul", shape, compute("unary", shape, alpha), b.weight("ssm_a"))
    return view("reshape", gate, shape)


def convolve(b: Builder, mixed: Node, kernel: int, channels: int) -> Node:
    """Convolve over the last few tokens, and keep them for the next batch."""
    slots, tokens = b.batch.slots, b.batch.tokens
    rows, each = (kernel - 1) * slots, tokens // slots
    past = view("reshape", b.state("r", (kernel - 1) * channels), (rows, channels))
    joined = compute(
        "concat", (rows + tokens, channels), past, view("transpose", mixed, mixed.shape)
    )
    b.keep_state("r", view("view", joined, (rows, channels), joined.size - F32_BYTES * each))
    result = compute("ssm_conv", (channels, tokens), joined, b.weight("ssm_conv1d.weight"))
    result = b.biased("ssm_conv1d.bias", result)
    return compute("unary", result.shape, result)


def _repeat(source: Node, shape: tuple[int, ...]) -> Node:
    repeated = compute("repeat", shape, view("reshape", source, source.shape))
    return view("reshape", repeated, shape)


def short_convolution(b: Builder, source: Node) -> Node:
    """Convolve over the last few tokens: src/models/lfm2.cpp."""
    tokens, slots, embd = b.batch.tokens, b.batch.slots, b.shape.embd
    kept = b.place.shapes["shortconv.conv.weight"][0] - 1
    source = view("reshape", source, source.shape)
    parts = b.multiply("shortconv.in_proj", source, 3 * embd, tokens)
    gate, out, value = (view("view", parts, (embd, tokens)) for _ in range(3))
    gated_ = compute("mul", (embd, tokens), gate, value)
    rows = kept * slots
    past = view("reshape", b.state("r", kept * embd), (rows, embd))
    joined = compute("concat", (rows + tokens, embd), past, view("transpose", gated_, gated_.shape))
    b.keep_state("r", view("view", joined, (rows, embd)))
    mixed = compute("ssm_conv", (embd, tokens), joined, b.weight("shortconv.conv.weight"))
    weighed = compute("mul", (embd, tokens), out, mixed)
    projected = b.multiply("shortconv.out_proj", weighed, embd, tokens)
    return view("reshape", projected, projected.shape)
