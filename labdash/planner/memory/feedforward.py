"""Feed-forward parts: llama-graph.cpp, build_ffn and build_moe_ffn."""

from labdash.planner.ggml import PLAIN_TYPES
from labdash.planner.memory.builder import Builder
from labdash.planner.memory.graph import Fusion, Group, Node, compute, view
from labdash.planner.shape import Experts

# GGUF's expert_gating_func: softmax of the chosen experts' logits instead of all.
LATE_SOFTMAX = 3
SIGMOIDS = frozenset((2, 4))
# Here what experts get is weighed, not what they say, and they are chosen before the sigmoid.
WEIGHED_EARLY = frozenset(("llama4",))


def dense(b: Builder, source: Node, *, suffix: str = "", width: int | None = None) -> Node:
    """Gate, up, down; or up and down; or gate and up in one matrix."""
    tokens = source.shape[-1]
    ff = b.place.layer.ff if width is None else width
    embd = b.shape.embd
    up_name, gate_name, down_name = (f"ffn_{part}{suffix}" for part in ("up", "gate", "down"))
    if b.has(f"{gate_name}.weight"):
        up = b.multiply(up_name, source, ff, tokens)
        gate = b.multiply(gate_name, source, ff, tokens)
        hidden = compute("glu", (ff, tokens), gate, up)
    elif _is_joined(b, up_name, ff):
        hidden = compute("glu", (ff, tokens), b.multiply(up_name, source, 2 * ff, tokens))
    else:
        hidden = compute("unary", (ff, tokens), b.multiply(up_name, source, ff, tokens))
    return b.multiply(down_name, hidden, embd, tokens)


def _is_joined(b: Builder, up_name: str, ff: int) -> bool:
    """Tell a matrix that holds gate and up, as in phi3: twice as wide as what comes out."""
    up, down = b.place.shapes[f"{up_name}.weight"], b.place.shapes[f"ffn_down{up_name[6:]}.weight"]
    return len(up) > 1 and up[1] == 2 * down[0] == 2 * ff


def experts(b: Builder, source: Node) -> Node:
    """Route each token to some experts and sum what they say."""
    known = b.shape.experts
    assert known is not None  # noqa: S101 - a layer has experts only where the shape has
    tokens, embd, used = source.shape[-1], b.shape.embd, known.used
    logits = b.multiply("ffn_gate_inp", source, known.count, tokens)
    chosen, weights = _route(b, logits, known)
    b.graph.expand(weights)
    cube = view("reshape", source, (embd, 1, tokens))
    if b.shape.arch in WEIGHED_EARLY:
        repeated = compute("repeat", (embd, used, tokens), cube)
        cube = compute("mul", repeated.shape, repeated, weights)
        return _sum(b, _say(b, cube, chosen, known))
    down = _say(b, cube, chosen, known)
    weighted = compute("mul", down.shape, down, weights)
    total = _sum(b, weighted)
    if b.traits.keeps_sums and 1 < used <= MOST_SUMMED:
        b.graph.fusions.append(Fusion(weighted, (down, weights), total))
    if b.traits.keeps_routing and _routes_in_one(known):
        _keep_routing(b, logits, cube)
    return total


def _say(b: Builder, cube: Node, chosen: Node, known: Experts) -> Node:
    """Run the chosen experts."""
    used, tokens = chosen.shape
    shape = (known.ff, used, tokens)
    if b.has("ffn_gate_up_exps.weight"):
        both = _expert(b, "ffn_gate_up_exps", cube, chosen, 2 * known.ff)
        hidden = compute("glu", shape, view("view", both, shape), view("view", both, shape))
    else:
        up = _expert(b, "ffn_up_exps", cube, chosen, known.ff)
        if b.has("ffn_gate_exps.weight"):
            gate = _expert(b, "ffn_gate_exps", cube, chosen, known.ff)
            hidden = compute("glu", shape, gate, up)
        else:
            hidden = compute("unary", shape, up)
    return _expert(b, "ffn_down_exps", hidden, chosen, b.shape.embd)


# ggml-cuda.cu, MOE_WEIGHTED_REDUCTION_MAX_EXPERTS
MOST_SUMMED = 32


def _route(b: Builder, logits: Node, known: Experts) -> tuple[Node, Node]:
    count, tokens = logits.shape
    used = known.used
    late = known.gating == LATE_SOFTMAX
    gate = "unary" if known.gating in SIGMOIDS else "soft_max"
    probs = logits if late else compute(gate, logits.shape, logits)
    picked = logits if b.shape.arch in WEIGHED_EARLY else b.biased("exp_probs_b.bias", probs)
    if known.groups > 1:
        picked = _pick_groups(picked, known)
    order = compute("argsort", (count, tokens), picked)
    chosen = view("view", order, (used, tokens))
    cube = view("reshape", probs, (1, count, tokens))
    weights = compute("get_rows", (1, used, tokens), cube, chosen)
    flat = (used, tokens)
    if late:
        softened = compute("soft_max", flat, view("reshape", weights, flat))
        weights = view("reshape", softened, (1, used, tokens))
    if known.normed:
        listed = view("reshape", weights, flat)
        total = compute("clamp", (1, tokens), compute("sum_rows", (1, tokens), listed))
        weights = view("reshape", compute("div", flat, listed, total), (1, used, tokens))
    if known.scaled:
        weights = compute("scale", (1, used, tokens), weights)
    return chosen, weights


def _pick_groups(probs: Node, known: Experts) -> Node:
    """Mask the experts of groups whose best two are not among the best."""
    count, tokens = probs.shape
    groups, each = known.groups, count // known.groups
    cube = view("reshape", probs, (each, groups, tokens))
    best = view("view", compute("argsort", cube.shape, cube), (2, groups, tokens))
    lined = view("reshape", probs, (1, each, groups, tokens))
    scores = compute("get_rows", (1, 2, groups, tokens), lined, best)
    flat = view("reshape", scores, (2, groups, tokens))
    summed = view("reshape", compute("sum_rows", (1, groups, tokens), flat), (groups, tokens))
    chosen = view("view", compute("argsort", (groups, tokens), summed), (groups // 2, tokens))
    kept = compute("get_rows", (each, groups // 2, tokens), cube, chosen)
    blank = compute("fill", cube.shape, cube)
    masked = Node("set_rows", cube.shape, blank.size, (kept, chosen, blank), blank)
    return view("reshape", masked, (count, tokens))


def _expert(b: Builder, name: str, source: Node, chosen: Node, width: int) -> Node:
    used, tokens = chosen.shape
    shape = (width, used, tokens)
    result = compute("mul_mat_id", shape, b.weight(f"{name}.weight"), source, chosen, rows=tokens)
    if b.has(f"{name}.bias"):
        result = compute("add_id", shape, result, b.weight(f"{name}.bias"), chosen)
    return result


def _sum(b: Builder, weighted: Node) -> Node:
    embd, used, tokens = weighted.shape
    b.graph.expand(weighted)
    parts = [view("view", weighted, (embd, tokens)) for _ in range(used)]
    b.graph.expand(*parts)
    total = parts[0]
    for part in parts[1:]:
        total = compute("add", (embd, tokens), total, part)
        b.graph.expand(total)
    return compute("cont", (embd, tokens), total) if used == 1 else total


def group_shared(b: Builder, routed: Node, shared: Node) -> None:
    """Move the shared expert behind the routed ones where CUDA runs both at once.

    ggml-cuda.cu, ggml_cuda_match_shared_expert: the matrices are of one type and size.
    """
    inside = (("ffn_gate_exps.weight", "ffn_up_exps.weight"), SHARED_PAIR)
    # Both kinds must read the same.
    if b.shape.arch in WEIGHED_EARLY:
        return
    if not all(b.has(name) for pair in inside for name in pair):
        return
    kinds = {b.place.weights[name].kind for pair in inside for name in pair}
    sizes = {b.place.shapes[name][:2] for pair in inside for name in pair}
    if len(kinds) > 1 or len(sizes) > 1 or kinds <= PLAIN_TYPES:
        return
    hidden = _find(routed, "mul_mat_id").sources[1]
    mixed = shared.sources[1]
    up = hidden.sources[1]
    moved = (mixed.sources[0], mixed.sources[1], mixed)
    b.graph.groups.append(Group(hidden, moved, (up.sources[1], up.sources[2])))


SHARED_PAIR = ("ffn_gate_shexp.weight", "ffn_up_shexp.weight")


def _find(node: Node, op: str) -> Node:
    """Walk up the first sources to an operation."""
    while node.op != op:
        node = node.sources[0]
    return node


def _routes_in_one(known: Experts) -> bool:
    """Tell the routing that CUDA has a kernel for: topk-moe.cu."""
    if known.gating == LATE_SOFTMAX or known.groups > 1:
        return False
    count = known.count
    return (count & (count - 1) == 0 and count <= 512) or count in (288, 576)  # noqa: PLR2004 - the counts it is compiled for


def _keep_routing(b: Builder, logits: Node, cube: Node) -> None:
    """Keep all that routing makes until the experts begin."""
    nodes = b.graph.nodes
    first = next(i for i in range(len(nodes) - 1, -1, -1) if logits in nodes[i].sources)
    first = next(i for i in range(first, -1, -1) if nodes[i] is logits) + 1
    last = nodes.index(cube, first)
    keep = [kept for node in nodes[first:last] for kept in (node, *node.sources)]
    b.graph.fusions.append(Fusion(nodes[first], tuple(dict.fromkeys(keep)), cube))
