"""Graphs of whole models: which parts, in which order, for each architecture.

Source: the ``build_arch_graph`` of src/models in llama.cpp. What a block has is read off its
tensors; a ``Style`` tells what these do not show.
"""

from dataclasses import dataclass

from labdash.planner.memory.attention import attend, project
from labdash.planner.memory.builder import Batch, Builder, Place, Traits
from labdash.planner.memory.feedforward import dense, experts, group_shared
from labdash.planner.memory.graph import Graph, Node, compute, given
from labdash.planner.memory.latent import decompressed, latent
from labdash.planner.memory.recurrent import delta_net, gated
from labdash.planner.shape import Shape


@dataclass(frozen=True, slots=True)
class Style:
    """How an architecture differs from LLaMA in what its graph holds."""

    scales_query: bool = False
    scales_tokens: bool = False
    caps_scores: bool = False
    caps_logits: bool = False
    norms_value: bool = False
    norms_query_late: bool = False
    parallel: bool = False
    rope: bool = True
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
}
PLAIN = Style()
# Architectures whose buffers were compared with llama.cpp's own.
CHECKED = frozenset(
    (
        "deepseek2", "gemma2", "gemma3", "gemma4", "gpt-oss", "llama", "phi3", "qwen2", "qwen3",
        "qwen35moe", "qwen3moe", "qwen3next",
    )
)  # fmt: skip


def build(shape: Shape, batch: Batch, traits: Traits, places: list[Place], ends: Place) -> Graph:
    """Build the graph of some of a model's layers. ``ends`` holds what is no layer's."""
    style = STYLES.get(shape.arch, PLAIN)
    b = Builder(shape, batch, traits)
    b.place = ends
    current = embed(b, style)
    for place in places:
        b.place = place
        current = block(b, current, style, last=place is places[-1])
    b.place = ends
    finish(b, current, style)
    return b.graph


def embed(b: Builder, style: Style) -> Node:
    """Look tokens up, beside the inputs for embeddings that come from elsewhere."""
    tokens, embd = b.batch.tokens, b.shape.embd
    table = b.weight("token_embd.weight")
    current = compute("get_rows", (embd, tokens), table, given("inp_tokens", (tokens,)))
    b.graph.expand(current, given("inp_embd", (embd, tokens)))
    if b.traits.mixed_batches:
        looked_up = compute("get_rows", (embd, tokens), table, given("mixed_tokens", (tokens,)))
        copied = compute("dup", (embd, tokens), given("mixed_embd", (embd, tokens)))
        slots = given("mixed_slots", (tokens,), 8)
        b.graph.expand(
            Node("set_rows", copied.shape, copied.size, (looked_up, slots, copied), copied)
        )
    if style.scales_tokens:
        by_input = b.traits.mixed_batches and b.shape.arch in ("gemma3", "gemma4", "gemma3n")
        by = (given("scale_rows", (1, tokens)),) if by_input else ()
        current = compute("mul" if by else "scale", (embd, tokens), current, *by)
    b.graph.expand(current)
    return current


def block(b: Builder, source: Node, style: Style, *, last: bool) -> Node:
    """Attention and feed-forward part with their norms and residuals."""
    current = b.norm(source, "attn_norm")
    if b.shape.recurrent is not None:
        b.graph.expand(current)
    current = _mixer(b, current, style)
    if last and not style.late_rows:
        current, source = b.rows(current), b.rows(source)
    two_norms = b.has("ffn_norm.weight") and b.has("post_attention_norm.weight")
    if two_norms:
        current = b.norm(current, "post_attention_norm")
    residual = compute("add", current.shape, current, source)
    name = "ffn_norm" if b.has("ffn_norm.weight") else "post_attention_norm"
    current = b.norm(residual, name)
    current = _feed_forward(b, current)
    if b.has("post_ffw_norm.weight"):
        current = b.norm(current, "post_ffw_norm")
    order = (residual, current) if b.shape.arch.startswith("phi") else (current, residual)
    current = compute("add", current.shape, *order)
    if b.has("layer_output_scale.weight"):
        current = compute("mul", current.shape, current, b.weight("layer_output_scale.weight"))
    return current


def _mixer(b: Builder, source: Node, style: Style) -> Node:
    """Mix tokens: by a state, a compressed cache, or attention."""
    if b.place.layer.recurrent:
        return delta_net(b, source)
    if b.shape.mla is not None:
        return latent(b, source)
    if b.has("attn_kv_b.weight"):
        return decompressed(b, source)
    if b.shape.arch in GATED_QUERIES:
        return gated(b, source)
    return _attention(b, source, style)


def _attention(b: Builder, source: Node, style: Style) -> Node:
    q, k, v = project(b, source)
    factors = _factors(b)
    if b.has("attn_q_norm.weight"):
        q = b.norm(q, "attn_q_norm")
    q = b.rope(q, factors)
    if b.has("attn_k_norm.weight"):
        k = b.norm(k, "attn_k_norm")
    if style.norms_value:
        v = compute("rms_norm", v.shape, v)
    k = b.rope(k, factors)
    if style.scales_query:
        q = compute("scale", q.shape, q)
    if not b.place.layer.owns_cache:
        return attend(b, q, None, None, caps=style.caps_scores)
    return attend(b, q, k, v, caps=style.caps_scores)


GATED_QUERIES = frozenset(("qwen3next", "qwen35", "qwen35moe"))


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
    current = b.norm(current, "output_norm")
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
