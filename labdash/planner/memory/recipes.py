"""Graphs of whole models: which parts, in which order, for each architecture.

Source: the ``build_arch_graph`` of src/models in llama.cpp. What a block has is read off its
tensors; a ``Style`` tells what these do not show.
"""

from dataclasses import dataclass

from labdash.planner.memory.attention import attend, project
from labdash.planner.memory.builder import Batch, Builder, Place, Traits
from labdash.planner.memory.embedding import add_by_layer, embed, embed_by_layer, part_of_rows
from labdash.planner.memory.feedforward import dense, experts, group_shared
from labdash.planner.memory.graph import Graph, Node, compute
from labdash.planner.memory.latent import decompressed, latent
from labdash.planner.memory.recurrent import delta_net, gated, short_convolution
from labdash.planner.shape import Shape


@dataclass(frozen=True, slots=True)
class Style:
    """How an architecture differs from LLaMA in what its graph holds.

    ``flat_norms`` are of all heads of Q or K together. ``late_rows`` cuts the batch down to the
    tokens that get logits behind the last norm. ``parallel`` runs attention and feed-forward part
    on the same input.
    """

    scales_query: bool = False
    scales_unrotated: bool = False
    scales_tokens: bool = False
    caps_scores: bool = False
    caps_logits: bool = False
    norms_value: bool = False
    norms_late: bool = False
    flat_norms: bool = False
    layer_norm: bool = False
    parallel: bool = False
    late_rows: bool = False


STYLES = {
    "gemma": Style(scales_query=True, scales_tokens=True),
    "gemma2": Style(scales_query=True, scales_tokens=True, caps_scores=True, caps_logits=True),
    "gemma3": Style(scales_query=True, scales_tokens=True),
    "gemma4": Style(scales_tokens=True, norms_value=True, caps_logits=True, late_rows=True),
    "phi3": Style(scales_query=True),
    "phimoe": Style(scales_query=True),
    "gpt-oss": Style(late_rows=True),
    "qwen35": Style(late_rows=True),
    "qwen35moe": Style(late_rows=True),
    "qwen3next": Style(late_rows=True),
    "olmo2": Style(flat_norms=True),
    "command-r": Style(parallel=True, layer_norm=True),
    "cohere2": Style(parallel=True, layer_norm=True),
    "llama4": Style(scales_unrotated=True, norms_late=True),
}
PLAIN = Style()
# Architectures whose buffers were compared with llama.cpp's own.
CHECKED = frozenset(
    (
        "chatglm", "cohere2", "command-r", "deepseek2", "gemma", "gemma2", "gemma3", "gemma4",
        "glm4", "glm4moe", "gpt-oss", "granite", "granitemoe", "llama", "llama4",
        "minimax-m2", "mistral3", "nemotron", "olmo2", "phi3", "qwen2", "qwen2vl",
        "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next", "qwen3vl", "qwen3vlmoe",
        "lfm2moe", "seed_oss", "smollm3", "starcoder2",
    )
)  # fmt: skip


def is_checked(shape: Shape) -> bool:
    """Tell whether an architecture's graph was compared."""
    return shape.arch in CHECKED


def build(shape: Shape, batch: Batch, traits: Traits, places: list[Place], ends: Place) -> Graph:
    """Build the graph of some of a model's layers. ``ends`` holds what is no layer's."""
    style = STYLES.get(shape.arch, PLAIN)
    b = Builder(shape, batch, traits, layer_norm=style.layer_norm)
    b.place = ends
    current = embed(b, scaled=style.scales_tokens)
    stacked = current.sources[0] if shape.deepstack else None
    by_layer = embed_by_layer(b, current, len(places)) if shape.per_layer else None
    for index, place in enumerate(places):
        b.place = place
        current = block(b, current, style, last=place is places[-1])
        if by_layer is not None:
            current = add_by_layer(b, current, by_layer)
        if b.has("layer_output_scale.weight"):
            current = compute("mul", current.shape, current, b.weight("layer_output_scale.weight"))
        if stacked is not None and index < shape.deepstack:
            part = part_of_rows(stacked, b.shape.embd)
            current = compute("add", current.shape, current, part)
    b.place = ends
    finish(b, current, style)
    return b.graph


def block(b: Builder, source: Node, style: Style, *, last: bool) -> Node:
    """Attention and feed-forward part with their norms and residuals."""
    current = b.norm(source, "attn_norm") if b.has("attn_norm.weight") else source
    if b.shape.recurrent is not None:
        b.graph.expand(current)
    normed = current
    current = _mixer(b, current, style)
    if last and not style.late_rows:
        current, source = b.rows(current), b.rows(source)
        normed = b.rows(normed) if style.parallel else normed
    if style.parallel:
        return _joined(current, dense(b, normed), source)
    between = b.has("post_ffw_norm.weight")
    if between:
        current = b.norm(current, "post_attention_norm")
    # These add the residual to what is new, the others what is new to the residual.
    order = (source, current) if b.shape.arch.startswith("lfm2") else (current, source)
    residual = compute("add", current.shape, *order)
    current = _feed_forward(b, _before_feed_forward(b, residual, between=between))
    if between:
        current = b.norm(current, "post_ffw_norm")
    first = b.shape.arch.startswith(("phi", "lfm2"))
    order = (residual, current) if first else (current, residual)
    return compute("add", current.shape, *order)


def _joined(attended: Node, fed: Node, source: Node) -> Node:
    return compute("add", fed.shape, compute("add", fed.shape, fed, source), attended)


def _before_feed_forward(b: Builder, residual: Node, *, between: bool) -> Node:
    """Normalise; where a norm comes between the parts, there may be none before the second."""
    if b.has("ffn_norm.weight"):
        return b.norm(residual, "ffn_norm")
    return residual if between else b.norm(residual, "post_attention_norm")


def _mixer(b: Builder, source: Node, style: Style) -> Node:
    """Mix tokens: by a state, a compressed cache, or attention."""
    if b.place.layer.recurrent:
        return short_convolution(b, source) if b.has(CONVOLUTION) else delta_net(b, source)
    if b.shape.mla is not None:
        return latent(b, source)
    if b.has("attn_kv_b.weight"):
        return decompressed(b, source)
    if b.shape.arch in GATED_QUERIES:
        return gated(b, source)
    return _attention(b, source, style)


def _attention(b: Builder, source: Node, style: Style) -> Node:
    layer = b.place.layer
    q, k, v = project(b, source, flat_norms=style.flat_norms)
    if not style.flat_norms and b.has("attn_q_norm.weight"):
        q = b.norm(q, "attn_q_norm")
    q = _turned(b, q, style)
    if style.scales_query:
        q = compute("scale", q.shape, q)
    if k is None or v is None:
        return attend(b, q, None, None, caps=style.caps_scores)
    if not style.flat_norms and b.has("attn_k_norm.weight"):
        k = b.norm(k, "attn_k_norm")
    if style.norms_value:
        v = compute("rms_norm", v.shape, v)
    k = _turned(b, k, style, scaled=False)
    return attend(b, q, k if layer.owns_cache else None, v, caps=style.caps_scores)


def _turned(b: Builder, source: Node, style: Style, *, scaled: bool = True) -> Node:
    """Rotate by position, where the layer is rotated."""
    if b.place.layer.rotated:
        turned = b.rope(source, _factors(b))
        return compute("rms_norm", turned.shape, turned) if style.norms_late else turned
    if style.scales_unrotated and scaled:
        return compute("mul", source.shape, source, b.temperature)
    return source


GATED_QUERIES = frozenset(("qwen3next", "qwen35", "qwen35moe"))
CONVOLUTION = "shortconv.conv.weight"


def _factors(b: Builder) -> str | None:
    # gemma4 rotates its windowed layers without them.
    if b.shape.arch == "gemma4" and b.place.layer.window:
        return None
    return next((name for name in FACTORS if b.has(name)), None)


FACTORS = ("rope_freqs.weight", "rope_factors_long.weight")


def _feed_forward(b: Builder, source: Node) -> Node:
    if not b.place.layer.experts:
        return dense(b, source)
    current = experts(b, source)
    if b.has("ffn_up_shexp.weight"):
        current = _shared(b, source, current)
    return current


def _shared(b: Builder, source: Node, routed: Node) -> Node:
    """Add the expert that every token goes through, weighed where it has a gate of its own."""
    known = b.shape.experts
    tokens = source.shape[-1]
    shared = dense(b, source, suffix="_shexp", width=known.shared_ff if known else 0)
    if b.traits.groups_shared:
        group_shared(b, routed, shared)
    if b.has("ffn_gate_inp_shexp.weight"):
        gate = compute("unary", (1, tokens), b.multiply("ffn_gate_inp_shexp", source, 1, tokens))
        shared = compute("mul", shared.shape, shared, gate)
    return compute("add", routed.shape, routed, shared)


def finish(b: Builder, current: Node, style: Style) -> None:
    """Normalise and compute the logits."""
    current = b.norm(current, "output_norm" if b.has("output_norm.weight") else "token_embd_norm")
    current.is_output = True
    if style.late_rows:
        current = b.rows(current)
        current.is_output = True
    outputs = b.batch.outputs
    shape = (b.shape.vocab, outputs)
    logits = compute("mul_mat", shape, b.weight("output.weight"), current, rows=outputs)
    logits = b.biased("output.bias", logits)
    if style.caps_logits:
        logits = compute("scale", shape, compute("unary", shape, compute("scale", shape, logits)))
    logits.is_output = True
    b.graph.expand(logits)
