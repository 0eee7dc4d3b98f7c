"""ggml's scheduler: which device runs each node, and what is copied between devices.

Source: ggml/src/ggml-backend.cpp, ggml_backend_sched_split_graph. GPUs are numbered from 0, the
host comes last.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labdash.planner.memory.graph import VIEW_OPS, Graph, Node

# ggml-cuda.cu, ggml_backend_cuda_device_offload_op
OFFLOAD_FROM_ROWS = 32
# ggml-backend.cpp: operations whose small weights do not decide where they run.
NO_ANCHOR = frozenset(("rope", "flash_attn"))
PIPELINE_COPIES = 4


@dataclass(slots=True)
class Split:
    """Consecutive nodes on one device and the tensors that are copied there before."""

    device: int
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rules:
    """``copies`` is 4 where batches are pipelined through GPUs, else 1."""

    gpu_count: int
    op_offload: bool
    copies: int
    copy_every_input: bool


@dataclass(slots=True)
class Schedule:
    """What the allocator replays: nodes and leaves, each with its device."""

    nodes: list[tuple[Node, int]]
    leaves: list[tuple[Node, int]]


def schedule(graph: Graph, rules: Rules) -> Schedule:
    """Assign devices, split the graph and put the copies in."""
    _assign(graph, rules)
    return _Splitter(graph, rules).run()


def _assign(graph: Graph, rules: Rules) -> None:
    host = rules.gpu_count
    for leaf in graph.leaves:
        leaf.device = _anchor(leaf, rules)
    computed = [node for node in graph.nodes if node.op not in VIEW_OPS]
    for node in graph.nodes:
        node.device = _anchor(node, rules)
    _spread(computed, host, gpus_only=True)
    _spread(reversed(computed), host, gpus_only=True)
    _spread(computed, host, gpus_only=False)
    _spread(reversed(computed), host, gpus_only=False)
    for node in computed:
        if node.device < 0:
            node.device = host
    for node in graph.nodes:
        _follow(node)


def _follow(node: Node) -> None:
    """Put views beside what they view, and what is left beside its user."""
    if node.device < 0 and node.view_of is not None:
        node.device = node.view_of.device
    for source in node.sources:
        if source.device < 0:
            root = source.view_of
            source.device = node.device if root is None else root.device


def _anchor(node: Node, rules: Rules) -> int:
    """Say where a node must run for what it touches, or -1."""
    host = rules.gpu_count
    root = node.view_of or node
    if node.pinned is not None:
        return node.pinned
    if root.home is not None:
        return root.home
    if node.is_input:
        return host
    if node.op in NO_ANCHOR:
        return -1
    for source in node.sources:
        if source.weight and source.home is not None:
            offloads = rules.op_offload and source.home == host and rules.gpu_count
            return 0 if offloads and node.rows >= OFFLOAD_FROM_ROWS else source.home
    return -1


def _spread(nodes: Iterable[Node], host: int, *, gpus_only: bool) -> None:
    """Give unassigned nodes the device of the one before."""
    current = -1
    for node in nodes:
        if node.device >= 0:
            current = -1 if gpus_only and node.device == host else node.device
        elif current >= 0 and not (node.host_only and current != host):
            node.device = current


class _Splitter:
    """Cuts the graph where the device changes and where a weight has to be brought along."""

    def __init__(self, graph: Graph, rules: Rules) -> None:
        self._graph = graph
        self._rules = rules
        self._copies: dict[tuple[Node, int], list[Node]] = {}
        self._graph_inputs: dict[Node, list[Node]] = {}
        self._splits: list[Split] = []

    def run(self) -> Schedule:
        self._split()
        if self._rules.copies > 1 and self._rules.copy_every_input:
            for leaf in self._graph.leaves:
                if leaf.is_input:
                    self._copy_input(leaf)
        return Schedule(list(self._nodes()), list(self._leaves()))

    def _split(self) -> None:
        # Views before the first computation belong to the first split, later ones to the one
        # that is open when they come.
        pending: list[Node] = []
        split: Split | None = None
        for node in self._graph.nodes:
            if node.op in VIEW_OPS:
                (split.nodes if split else pending).append(node)
                continue
            if split is None or node.device != split.device or self._brings_weight(node, split):
                split = Split(node.device)
                split.nodes.extend(pending)
                pending = []
                self._splits.append(split)
            if self._rules.copies > 1 or any(s.device != split.device for s in node.sources):
                node.sources = tuple([self._local(source, split) for source in node.sources])
            split.nodes.append(node)

    @staticmethod
    def _brings_weight(node: Node, split: Split) -> bool:
        """Tell whether a weight has to be brought along, so that the one before can go."""
        if split.inputs:
            for source in node.sources:
                if source.weight and source.device != split.device:
                    return True
        return False

    def _local(self, source: Node, split: Split) -> Node:
        if self._rules.copies > 1 and source.is_input and not self._rules.copy_every_input:
            self._copy_input(source)
        if source.device == split.device:
            return source
        key = (source, split.device)
        if key not in self._copies:
            self._copies[key] = [self._copy(source) for _ in range(self._rules.copies)]
            split.inputs.append(source)
        return self._copies[key][0]

    def _copy(self, source: Node) -> Node:
        kept = self._rules.copies > 1
        copy = Node("none", source.shape, source.size, is_input=kept, is_output=kept)
        # A GPU fills up the last row of a quantised tensor, also of a copy.
        root = source.view_of or source
        copy.extra = source.extra if root.home is not None else 0
        return copy

    def _copy_input(self, leaf: Node) -> None:
        if leaf not in self._graph_inputs:
            leaf.is_output = True
            others = [self._copy(leaf) for _ in range(self._rules.copies - 1)]
            self._graph_inputs[leaf] = [leaf, *others]

    def _nodes(self) -> Iterator[tuple[Node, int]]:
        for split in self._splits:
            for source in split.inputs:
                root = source.view_of or source
                yield (
                    Node("none", source.shape, source.size, (source,), view_of=root),
                    source.device,
                )
                yield self._copies[source, split.device][0], split.device
            kept = self._kept_until(split)
            self._group(split, kept)
            for node in split.nodes:
                yield node, node.device
                if node in kept:
                    yield (
                        Node("none", node.shape, 0, tuple(kept[node]), view_of=node),
                        split.device,
                    )

    def _kept_until(self, split: Split) -> dict[Node, list[Node]]:
        if split.device == self._rules.gpu_count or not self._graph.fusions:
            return {}
        inside = set(split.nodes)
        kept: dict[Node, list[Node]] = {}
        for fusion in self._graph.fusions:
            if fusion.first in inside and fusion.until in inside:
                here = [self._here(node, split.device) for node in fusion.keep]
                kept.setdefault(fusion.until, []).extend(here)
        return kept

    def _here(self, node: Node, device: int) -> Node:
        """Take a node's copy where it was brought to the device."""
        copies = self._copies.get((node, device))
        return copies[0] if copies else node

    def _group(self, split: Split, kept: dict[Node, list[Node]]) -> None:
        if split.device == self._rules.gpu_count or not self._graph.groups:
            return
        inside = set(split.nodes)
        for group in self._graph.groups:
            if group.after in inside and inside.issuperset(group.moved):
                rest = [node for node in split.nodes if node not in group.moved]
                place = rest.index(group.after) + 1
                split.nodes = [*rest[:place], *group.moved, *rest[place:]]
                here = [self._here(node, split.device) for node in group.keep]
                kept.setdefault(group.moved[-1], []).extend(here)

    def _leaves(self) -> Iterator[tuple[Node, int]]:
        if self._rules.copies > 1:
            for leaf, copies in self._graph_inputs.items():
                for copy in copies:
                    yield copy, leaf.device
            for split in self._splits:
                for source in split.inputs:
                    for copy in self._copies[source, split.device]:
                        yield copy, split.device
        for leaf in self._graph.leaves:
            yield leaf, leaf.device
