"""Gemma 3n: some streams of the hidden state side by side, of which one runs through the layer.

Source: src/models/gemma3n.cpp.
"""

from collections.abc import Callable

from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.builder import Builder
from labdash.planner.memory.embedding import part_of_layer
from labdash.planner.memory.graph import Node, compute, view

# gemma3n.cpp, n_layer_sparsity
SPARSE_LAYERS = 10

type Attention = Callable[[Node], Node]


def stack(b: Builder, embedded: Node) -> Node:
    """Make the other streams of the first, as large as it, and lay them behind it."""
    embd, tokens = embedded.shape
    others = (embd, tokens, _streams(b) - 1)
    target = _magnitude(embedded)
    repeated = compute("repeat", others, embedded)
    added = compute("mul_mat", others, b.weight("altup_proj.weight"), repeated)
    return compute("concat", (*embedded.shape, _streams(b)), embedded, _fitted(added, target))


def merge(b: Builder, streams: Node) -> Node:
    """Average the streams, and keep the tokens that get logits."""
    embd, tokens, count = streams.shape
    target = _magnitude(_slice(streams))
    others = _slices(streams, count - 1)
    opened = compute("mul_mat", others.shape, b.weight("altup_unembd_proj.weight"), others)
    opened = _fitted(opened, target)
    total = _slice(streams)
    for _ in range(count - 1):
        total = compute("add", (embd, tokens), total, _slice(opened))
    return b.rows(compute("scale", total.shape, total))


def altup_block(b: Builder, streams: Node, by_layer: Node, attention: Attention) -> Node:
    """Predict all streams, run one through the layer, and correct the others by it."""
    predicted = _predict(b, streams)
    active = _slice(predicted)
    normed = b.norm(active, "attn_norm")
    side = _laurel(b, normed)
    attended = b.norm(attention(normed), "post_attention_norm")
    attended = compute("add", attended.shape, attended, active)
    both = compute("add", attended.shape, attended, side)
    both = compute("scale", both.shape, both)
    fed = b.norm(_feed(b, b.norm(both, "ffn_norm")), "post_ffw_norm")
    corrected = _correct(b, predicted, compute("add", fed.shape, fed, both))
    own = _own_part(b, _slice(corrected), by_layer)
    rest = _slices(corrected, _streams(b) - 1)
    rest = compute("add", rest.shape, rest, own)
    return compute("concat", corrected.shape, _slice(corrected), rest)


def _streams(b: Builder) -> int:
    return b.shape.streams


def _slice(streams: Node) -> Node:
    """View one stream."""
    embd, tokens, *_ = streams.shape
    return view("view", streams, (embd, tokens), F32_BYTES * embd * tokens)


def _slices(streams: Node, count: int) -> Node:
    embd, tokens, *_ = streams.shape
    return view("view", streams, (embd, tokens, count), F32_BYTES * embd * tokens * count)


def _magnitude(source: Node) -> Node:
    shape = (1, *source.shape[1:])
    total = compute("sum_rows", shape, compute("sqr", source.shape, source))
    return compute("sqrt", shape, total)


def _fitted(source: Node, target: Node) -> Node:
    """Scale to a magnitude."""
    own = _magnitude(source)
    return compute("div", source.shape, compute("mul", source.shape, source, target), own)


def _router(b: Builder, source: Node) -> Node:
    normed = b.norm(source, "altup_router_norm")
    scaled = compute("scale", normed.shape, normed)
    shape = (_streams(b), source.shape[1])
    return compute("unary", shape, b.multiply("altup_router", scaled, *shape))


def _predict(b: Builder, streams: Node) -> Node:
    embd, tokens, count = streams.shape
    routed = _router(b, _slice(streams))
    factors = b.multiply("altup_predict_coef", routed, count * count, tokens)
    factors = view("reshape", factors, (count, count, tokens))
    turned = compute("cont", (count, embd, tokens), view("permute", streams, streams.shape))
    mixed = compute("mul_mat", (embd, count, tokens), turned, factors)
    predicted = compute("cont", streams.shape, view("permute", mixed, mixed.shape))
    return compute("add", streams.shape, predicted, streams)


def _correct(b: Builder, predicted: Node, activated: Node) -> Node:
    tokens, count = predicted.shape[1:]
    routed = _router(b, activated)
    new = compute("sub", activated.shape, activated, _slice(predicted))
    factors = b.multiply("altup_correct_coef", routed, count, tokens)
    factors = compute("scale", factors.shape, factors)
    factors = compute("cont", (1, tokens, count), view("transpose", factors, factors.shape))
    repeated = compute("repeat", predicted.shape, new)
    weighed = compute("mul", predicted.shape, repeated, factors)
    return compute("add", predicted.shape, weighed, predicted)


def _laurel(b: Builder, source: Node) -> Node:
    embd, tokens = source.shape
    rank = b.place.shapes["laurel_l.weight"][1]
    small = b.multiply("laurel_l", source, rank, tokens)
    grown = b.norm(b.multiply("laurel_r", small, embd, tokens), "laurel_post_norm")
    return compute("add", grown.shape, grown, source)


def _feed(b: Builder, source: Node) -> Node:
    shape = (b.place.layer.ff, source.shape[1])
    up, gate = b.multiply("ffn_up", source, *shape), b.multiply("ffn_gate", source, *shape)
    if b.place.index < SPARSE_LAYERS:
        gate = _sparse(gate)
    hidden = compute("mul", shape, up, compute("unary", shape, gate))
    return b.multiply("ffn_down", hidden, b.shape.embd, shape[1])


def _sparse(gate: Node) -> Node:
    """Keep what lies far above the mean."""
    single = (1, gate.shape[1])
    mean = compute("mean", single, gate)
    apart = compute("sub", gate.shape, gate, mean)
    total = compute("sum_rows", single, compute("sqr", gate.shape, apart))
    deviation = compute("sqrt", single, compute("scale", single, total))
    cutoff = compute("add", single, mean, compute("scale", single, deviation))
    return compute("unary", gate.shape, compute("sub", gate.shape, gate, cutoff))


def _own_part(b: Builder, first: Node, by_layer: Node) -> Node:
    """Gate the layer's own part of the embedding."""
    tokens, part = first.shape[1], b.shape.per_layer
    scaled = compute("mul", first.shape, first, b.weight("altup_correct_scale.weight"))
    gate = b.multiply("inp_gate", scaled, part, tokens)
    gate = compute("unary", gate.shape, gate)
    mixed = compute("mul", gate.shape, gate, part_of_layer(b, by_layer))
    return b.norm(b.multiply("proj", mixed, b.shape.embd, tokens), "post_norm")
