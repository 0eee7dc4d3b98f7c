"""Mamba's layers, which scan over a state: src/models/mamba-base.cpp."""

from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.builder import Builder
from labdash.planner.memory.graph import Node, compute, part_of_rows, view
from labdash.planner.memory.recurrent import convolve


def mamba(b: Builder, source: Node) -> Node:
    """Scan with a step and factors that follow from the convolved input."""
    tokens = b.batch.tokens
    inner, embd = b.place.shapes["ssm_out.weight"]
    rank = b.place.shapes["ssm_dt.weight"][0]
    width = b.place.shapes["ssm_x.weight"][1]
    state = (width - rank) // 2
    both = b.multiply("ssm_in", source, 2 * inner, tokens)
    part, z = (part_of_rows(both, inner) for _ in range(2))
    x = convolve(b, part, *b.place.shapes["ssm_conv1d.weight"])
    factors = b.multiply("ssm_x", x, width, tokens)
    step, *pair = (part_of_rows(factors, size) for size in (rank, state, state))
    kept = compute("cont", step.shape, step)
    dt = b.multiply("ssm_dt", kept, inner, tokens)
    y = _scan(b, view("reshape", x, x.shape), dt, pair, inner)
    result = _put_out(b, y, x, z, (embd, tokens))
    return view("reshape", result, result.shape)


def mamba2(b: Builder, source: Node) -> Node:
    """Scan with heads: step and factors come out of the same matrix as the input."""
    tokens = b.batch.tokens
    inner, embd = b.place.shapes["ssm_out.weight"]
    heads = b.place.shapes["ssm_dt.bias"][0]
    kernel, channels = b.place.shapes["ssm_conv1d.weight"]
    joined = b.multiply("ssm_in", source, b.place.shapes["ssm_in.weight"][1], tokens)
    joined = view("reshape", joined, joined.shape)
    convolved = convolve(b, part_of_rows(joined, channels), kernel, channels)
    x = part_of_rows(convolved, inner)
    pair = [part_of_rows(convolved, (channels - inner) // 2) for _ in range(2)]
    step = part_of_rows(joined, heads)
    dt = b.biased("ssm_dt.bias", compute("cont", step.shape, step))
    y = _scan(b, x, dt, pair, inner)
    return _put_out(b, y, x, part_of_rows(joined, inner), (embd, tokens))


def _scan(b: Builder, x: Node, dt: Node, pair: list[Node], inner: int) -> Node:
    """Scan from the slots' states, and write their new ones behind the result."""
    known = b.shape.recurrent
    assert known is not None  # noqa: S101 - a layer is recurrent only where the shape is
    tokens, slots, elements = b.batch.tokens, b.batch.slots, known.state_elements
    states = b.cleared_state("s", elements)
    size = inner * tokens + elements * slots
    opened = view("reshape", states, (elements, slots))
    sources = (opened, x, dt, b.weight("ssm_a"), *pair, b.slots_in_use)
    result = compute("ssm_scan", (size,), *sources)
    b.graph.expand(result)
    # The first state is read where it lies.
    others = compute("get_rows", (elements, slots - 1), states, b.slots_besides)
    b.keep_other_states("s", others)
    end = view("view", result, (elements, slots), F32_BYTES * elements * slots)
    b.keep_state("s", end)
    return view("view", result, (inner, tokens), F32_BYTES * inner * tokens)


def _put_out(b: Builder, y: Node, x: Node, z: Node, shape: tuple[int, int]) -> Node:
    y = compute("add", y.shape, y, compute("mul", y.shape, x, b.weight("ssm_d")))
    y = compute("glu", y.shape, compute("cont", z.shape, z), y)
    if b.has("ssm_norm.weight"):
        y = b.norm(view("reshape", y, y.shape), "ssm_norm")
    return b.multiply("ssm_out", view("reshape", y, y.shape), *shape)
