"""A compute graph as ggml builds it: only what its allocator and scheduler look at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from labdash.planner.ggml import F32_BYTES

# ggml.c, ggml_is_view_op: nodes that compute nothing.
VIEW_OPS = frozenset(("view", "reshape", "permute", "transpose"))


@dataclass(slots=True, eq=False)
class Node:
    """A tensor. ``home`` is the device that holds it where it is no part of the graph's memory.

    ``weight`` marks tensors of the model, ``host_only`` operations that no GPU runs, ``pinned``
    the device that an operation is forced to, ``rows`` the batch that decides over offloading.
    ``extra`` is scratch that a GPU needs behind the result. The rest is the allocator's.
    """

    op: str
    shape: tuple[int, ...]
    size: int
    sources: tuple["Node", ...] = ()
    view_of: "Node | None" = None
    home: int | None = None
    weight: bool = False
    is_input: bool = False
    is_output: bool = False
    host_only: bool = False
    pinned: int | None = None
    rows: int = 0
    extra: int = 0
    device: int = -1
    children: int = 0
    views: int = 0
    owned: bool = False
    arena: int = 0
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Fusion:
    """Operations that CUDA runs as one: ``keep`` must live until ``until`` has run."""

    first: Node
    keep: tuple[Node, ...]
    until: Node


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that CUDA moves behind ``after``; what is to ``keep`` must live until then."""

    after: Node
    moved: tuple[Node, ...]
    keep: tuple[Node, ...]


@dataclass(slots=True)
class Graph:
    """Nodes in the order of their evaluation, and the leaves that they start from."""

    nodes: list[Node] = field(default_factory=list)
    leaves: list[Node] = field(default_factory=list)
    fusions: list[Fusion] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    _seen: set[Node] = field(default_factory=set)

    def expand(self, *results: Node) -> None:
        """Add what results need, sources from left to right, as ggml_build_forward_expand."""
        for result in results:
            self._visit(result)

    def _visit(self, node: Node) -> None:
        # Without recursion: hundreds of blocks may hang on each other.
        waiting = [node]
        while waiting:
            at = waiting.pop()
            if at in self._seen:
                continue
            left = [source for source in at.sources if source not in self._seen]
            if left:
                waiting.append(at)
                waiting.extend(reversed(left))
                continue
            self._seen.add(at)
            (self.nodes if at.sources else self.leaves).append(at)


def compute(op: str, shape: Iterable[int], *sources: Node, rows: int = 0) -> Node:
    """Make an operation whose result is f32."""
    dims = tuple(shape)
    if op != "get_rows":
        rows = rows or prod(dims[1:])
    return Node(op, dims, F32_BYTES * prod(dims), sources, rows=rows)


def view(op: str, source: Node, shape: Iterable[int], size: int | None = None) -> Node:
    """Make another view of a tensor. ``size`` is the extent of a view with gaps."""
    dims = tuple(shape)
    root = source.view_of or source
    return Node(op, dims, source.size if size is None else size, (source,), view_of=root)


def part_of_rows(source: Node, width: int) -> Node:
    """View a part of each row: it ends where the last row's part does."""
    rest = source.shape[0] - width
    return view("view", source, (width, *source.shape[1:]), source.size - F32_BYTES * rest)


def given(name: str, shape: Iterable[int], element_bytes: int = F32_BYTES) -> Node:
    """Make an input of the graph, which the host fills before each run."""
    dims = tuple(shape)
    return Node(name, dims, element_bytes * prod(dims), is_input=True)


def stored(name: str, size: int, home: int, *, weight: bool = True) -> Node:
    """Make a tensor that lies in a buffer of its own: a weight or a cache."""
    return Node(name, (size,), size, home=home, weight=weight)
