"""Graphs of whole models: which parts, in which order, for each architecture.

Source: the ``build_arch_graph`` of src/models in llama.cpp. What a block has is read off its
tensors; a ``Style`` tells what these do not show.
"""

from dataclasses import dataclass

from labdash.planner.memory.altup import altup_block, merge, stack
from labdash.planner.memory.attention import attend, project
from labdash.planner.memory.builder import Batch, Builder, Place, Traits
from labdash.planner.memory.embedding import add_by_layer, embed, embed_by_layer
from labdash.planner.memory.feedforward import dense, experts, group_shared
from labdash.planner.memory.graph import Graph, Node, compute, part_of_rows
from labdash.planner.memory.latent import decompressed, latent
from labdash.planner.memory.recurrent import delta_net, gated, short_convolution
from labdash.planner.memory.scan import mamba, mamba2
from labdash.planner.shape import UNCACHED, Shape
from labdash.planner.tables import GATED_QUERIES


@dataclass(frozen=True, slots=True)
class Style:
    """How an architecture differs from LLaMA in what its graph holds.

    ``flat_norms`` are of all heads of Q or K together. ``late_rows`` cuts the batch down to the
    tokens that get logits behind the last norm, ``last_rows`` right before it. ``parallel`` runs
    attention and feed-forward part on the same input; it tells in which order its three summands
    are added.
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
    parallel: tuple[str, ...] = ()
    late_rows: bool = False
    last_rows: bool = False
    scales_residual: bool = False


STYLES = {
    "gemma": Style(scales_query=True, scales_tokens=True),
    "gemma2": Style(scales_query=True, scales_tokens=True, caps_scores=True, caps_logits=True),
    "gemma3": Style(scales_query=True, scales_tokens=True),
    "gemma3n": Style(scales_tokens=True, norms_value=True, caps_logits=True),
    "gemma4": Style(scales_tokens=True, norms_value=True, caps_logits=True, late_rows=True),
    "phi3": Style(scales_query=True),
    "phimoe": Style(scales_query=True),
    "gpt-oss": Style(last_rows=True),
    "qwen35": Style(late_rows=True),
    "qwen35moe": Style(late_rows=True),
    "qwen3next": Style(late_rows=True),
    "olmo2": Style(flat_norms=True),
    "olmoe": Style(flat_norms=True),
    "minimax-m2": Style(flat_norms=True),
    "command-r": Style(parallel=("fed", "source", "attended"), layer_norm=True),
    "cohere2": Style(parallel=("fed", "source", "attended"), layer_norm=True),
    "falcon": Style(parallel=("fed", "attended", "source")),
    "phi2": Style(parallel=("attended", "fed", "source"), scales_query=True),
    "stablelm": Style(layer_norm=True),
    "granite": Style(scales_tokens=True),
    "granitemoe": Style(scales_tokens=True),
    "granitehybrid": Style(scales_tokens=True, scales_residual=True),
    "nemotron_h": Style(late_rows=True),
    "nemotron_h_moe": Style(late_rows=True),
    "llama4": Style(scales_unrotated=True, norms_late=True),
}
PLAIN = Style()
# Architectures whose buffers were compared with llama.cpp's own.
CHECKED = frozenset(
    (
        "baichuan", "bailingmoe2", "chatglm", "cohere2", "command-r", "deepseek", "deepseek2",
        "dots1", "ernie4_5", "ernie4_5-moe", "exaone4", "falcon", "falcon-h1", "gemma", "gemma2",
        "gemma3", "gemma3n", "gemma4", "glm4", "glm4moe", "gpt-oss", "granite", "granitehybrid",
        "granitemoe", "hunyuan-dense", "hunyuan-moe", "internlm2", "lfm2", "lfm2moe", "llama",
        "llama4", "mamba", "mamba2", "minimax-m2", "mistral3", "nemotron", "nemotron_h",
        "nemotron_h_moe", "olmo2", "olmoe", "phi2", "phi3", "phimoe", "qwen2", "qwen2moe",
        "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next", "qwen3vl",
        "qwen3vlmoe", "seed_oss", "smollm3", "stablelm", "starcoder2",
    )
)  # fmt: skip


def is_checked(shape: Shape) -> bool:
    """Tell whether an architecture's graph was compared."""
    return shape.arch in CHECKED


def build(shape: Shape, batch: Batch, traits: Traits, places: list[Place], ends: Place) -> Graph:
    """Build the graph of some of a model's layers. ``ends`` holds what is no layer's.

    Raises ``LookupError`` where it is not known.
    """
    if shape.arch in UNCACHED:
        raise LookupError(shape.arch)
    style = STYLES.get(shape.arch, PLAIN)
    b = Builder(shape, batch, traits, layer_norm=style.layer_norm)
    b.place = ends
    current = embed(b, scaled=style.scales_tokens)
    stacked = current.sources[0] if shape.deepstack else None
    by_layer = embed_by_layer(b, current, len(places)) if shape.per_layer else None
    if by_layer is not None and shape.streams > 1:
        finish(b, _run_streams(b, current, by_layer, places, style), style)
        return b.graph
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


def _run_streams(
    b: Builder, current: Node, by_layer: Node, places: list[Place], style: Style
) -> Node:
    ends, current = b.place, stack(b, current)
    for place in places:
        b.place = place
        current = altup_block(b, current, by_layer, lambda source: _attention(b, source, style))
    b.place = ends
    return merge(b, current)


def block(b: Builder, source: Node, style: Style, *, last: bool) -> Node:
    """Attention and feed-forward part with their norms and residuals."""
    layer = b.place.layer
    feeds = layer.ff > 0 or layer.experts
    if feeds and (layer.attention or layer.recurrent):
        return _block(b, source, style, last=last)
    # Each of these blocks has one of both parts.
    normed = b.norm(source, "attn_norm")
    current = _feed_forward(b, normed) if feeds else _mixer(b, normed, style)
    if last and not (style.late_rows or style.last_rows):
        current, source = b.rows(current), b.rows(source)
    return compute("add", current.shape, current, source)


def _block(b: Builder, source: Node, style: Style, *, last: bool) -> Node:
    normed = b.norm(source, "attn_norm") if b.has("attn_norm.weight") else source
    if b.shape.arch in GATED_QUERIES:
        b.graph.expand(normed)
    cuts = last and not (style.late_rows or style.last_rows)
    if b.place.layer.attention and b.place.layer.recurrent:
        residual = _attended_beside_scanned(b, source, normed, style)
        return _fed(b, b.rows(residual) if cuts else residual, residual)
    mixed = b.norm(source, "attn_norm_2") if b.has("attn_norm_2.weight") else normed
    current = _mixer(b, mixed, style)
    if cuts:
        current, source = b.rows(current), b.rows(source)
        normed = b.rows(normed)
    if style.parallel:
        parts = {"attended": current, "fed": dense(b, normed), "source": source}
        return _sum(*(parts[name] for name in style.parallel))
    if style.scales_residual:
        current = compute("scale", current.shape, current)
    if b.has("post_ffw_norm.weight"):
        current = b.norm(current, "post_attention_norm")
    # These add the residual to what is new, the others what is new to the residual.
    order = (source, current) if b.shape.arch.startswith("lfm2") else (current, source)
    return _fed(b, _sum(*order), normed)


def _attended_beside_scanned(b: Builder, source: Node, normed: Node, style: Style) -> Node:
    attended = _attention(b, normed, style)
    scanned = mamba2(b, b.norm(source, "attn_norm"))
    return _sum(attended, scanned, source)


def _fed(b: Builder, residual: Node, normed: Node) -> Node:
    """Add the feed-forward part. ``normed`` is its input where it has no norm of its own."""
    current = _feed_forward(b, _before_feed_forward(b, residual, normed))
    if b.has("post_ffw_norm.weight"):
        current = b.norm(current, "post_ffw_norm")
    first = b.shape.arch.startswith(("phi", "lfm2"))
    return _sum(*((residual, current) if first else (current, residual)))


def _before_feed_forward(b: Builder, residual: Node, normed: Node) -> Node:
    """Normalise; where a norm comes between the parts, there may be none before the second."""
    if b.has("ffn_norm.weight") or b.has("ffn_norm"):
        return b.norm(residual, "ffn_norm")
    if b.has("post_ffw_norm.weight"):
        return residual
    if b.has("post_attention_norm.weight"):
        return b.norm(residual, "post_attention_norm")
    return normed


def _sum(*parts: Node) -> Node:
    total = parts[0]
    for part in parts[1:]:
        total = compute("add", total.shape, total, part)
    return total


def _mixer(b: Builder, source: Node, style: Style) -> Node:
    """Mix tokens: by a state, a compressed cache, or attention."""
    if b.place.layer.recurrent:
        kind = next((name for name in RECURRENT_KINDS if b.has(name)), None)
        return RECURRENT_KINDS[kind](b, source) if kind else delta_net(b, source)
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
    if b.shape.scales_with_position:
        q = compute("mul", q.shape, q, b.temperature)
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


RECURRENT_KINDS = {
    "shortconv.conv.weight": short_convolution,
    "ssm_dt.weight": mamba,
    "ssm_in.weight": mamba2,
}


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
    if style.last_rows:
        current.is_output = True
        current = b.rows(current)
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
