"""What a batch begins with: looked-up tokens, and inputs for embeddings from elsewhere.

Source: llama-graph.cpp, build_inp_embd, and src/models/gemma4.cpp for embeddings by layer.
"""

from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.builder import INDEX_BYTES, Builder
from labdash.planner.memory.graph import Node, compute, given, part_of_rows, view

# Here the scale of token rows is an input since batches mix tokens and embeddings.
SCALES_BY_INPUT = frozenset(("gemma3", "gemma3n", "gemma4"))


def embed(b: Builder, *, scaled: bool) -> Node:
    """Look tokens up, beside the inputs for embeddings that come from elsewhere."""
    tokens, embd = b.batch.tokens, b.shape.embd
    width = embd * (1 + b.shape.deepstack)
    current = _look_up(b, "inp_tokens", width)
    b.graph.expand(current, given("inp_embd", (width, tokens)))
    if b.traits.mixed_batches:
        looked_up = _look_up(b, "mixed_tokens", width)
        copied = compute("dup", (width, tokens), given("mixed_embd", (width, tokens)))
        slots = given("mixed_slots", (tokens,), INDEX_BYTES)
        sources = (looked_up, slots, copied)
        b.graph.expand(Node("set_rows", copied.shape, copied.size, sources, copied))
    if width != embd:
        current = part_of_rows(current, embd)
    if scaled:
        by_input = b.traits.mixed_batches and b.shape.arch in SCALES_BY_INPUT
        by = (given("scale_rows", (1, tokens)),) if by_input else ()
        current = compute("mul" if by else "scale", (embd, tokens), current, *by)
    b.graph.expand(current)
    return current


def _look_up(b: Builder, name: str, width: int) -> Node:
    """Look rows up, filled up where further layers of an image lie beside them."""
    tokens, embd = b.batch.tokens, b.shape.embd
    table = b.weight("token_embd.weight")
    found = compute("get_rows", (embd, tokens), table, given(name, (tokens,)))
    return found if width == embd else compute("pad", (width, tokens), found)


def embed_by_layer(b: Builder, embedded: Node, layers: int) -> Node:
    """Look up and project what each layer adds of its own. ``layers`` are those built."""
    tokens, part = b.batch.tokens, b.shape.per_layer
    count = max(layers, len(b.shape.layers))
    flat, cube = (part * count, tokens), (part, count, tokens)
    table = b.weight("per_layer_token_embd.weight")
    found = compute("get_rows", flat, table, given("inp_tokens", (tokens,)))
    own = compute("scale", cube, view("reshape", found, cube))
    b.graph.expand(own)
    projected = b.multiply("per_layer_model_proj", embedded, *flat)
    scaled = view("reshape", compute("scale", flat, projected), cube)
    both = compute("add", cube, b.norm(scaled, "per_layer_proj_norm"), own)
    halved = view("permute", compute("scale", cube, both), cube)
    return compute("cont", cube, halved)


def part_of_layer(b: Builder, by_layer: Node) -> Node:
    """View what one layer has of its own."""
    tokens, part = b.batch.tokens, b.shape.per_layer
    return view("view", by_layer, (part, tokens), F32_BYTES * part * tokens)


def add_by_layer(b: Builder, source: Node, by_layer: Node) -> Node:
    """Gate a layer's output by its own part of the embedding."""
    tokens, part = source.shape[-1], b.shape.per_layer
    gate = b.multiply("inp_gate", source, part, tokens)
    gate = compute("unary", gate.shape, gate)
    mixed = compute("mul", gate.shape, gate, part_of_layer(b, by_layer))
    grown = b.norm(b.multiply("proj", mixed, b.shape.embd, tokens), "post_norm")
    return compute("add", source.shape, source, grown)
