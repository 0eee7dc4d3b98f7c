"""ggml's graph allocator, replayed: how large each device's compute buffer gets.

Source: ggml/src/ggml-alloc.c. ``trace`` finds who takes and gives back memory, in which order;
``peaks`` replays that with given sizes. The order hangs on the graph alone, so one trace serves
all sizes of a context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from labdash.planner.memory.graph import Node

# ggml-alloc.c, ggml_op_can_inplace: the operations that occur in the graphs of models.
IN_PLACE = frozenset(
    (
        "add", "add_id", "sub", "mul", "div", "scale", "sqr", "sqrt", "log", "unary", "rope",
        "rms_norm", "soft_max", "clamp", "fill",
    )
)  # fmt: skip
ENDLESS = 1 << 62


# What happens to a piece of memory.
TAKE, GIVE, TRIM = 0, 1, 2

type Event = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Trace:
    """Events as (kind, arena, slot, size, smaller size), the sizes by their place in ``sizes``.

    ``sizes`` are unpadded bytes. A slot is one piece of memory from its taking to its giving
    back; a TRIM gives back what lies behind the smaller size.
    """

    events: tuple[Event, ...]
    sizes: tuple[int, ...]


def trace(
    nodes: Sequence[tuple[Node, int]], leaves: Sequence[tuple[Node, int]], host: int
) -> Trace:
    """Follow the lives of a scheduled graph's tensors. ``host`` is the last arena."""
    tracer = _Tracer(host)
    tracer.run(nodes, leaves)
    return Trace(tuple(tracer.events), tuple(tracer.sizes))


@dataclass(slots=True)
class _Tracer:
    host: int
    events: list[Event] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    _slots: int = 0

    def run(self, nodes: Sequence[tuple[Node, int]], leaves: Sequence[tuple[Node, int]]) -> None:
        for leaf, device in leaves:
            self._place(leaf, device)
        for node, device in nodes:
            self._count(node, device)
        for node, device in nodes:
            for source in node.sources:
                if not source.owned and source.home is None and source.view_of is None:
                    self._place(source, device)
            self._place(node, device)
            self._leave(node)

    def _leave(self, node: Node) -> None:
        """Let go of what a node has read."""
        for source in node.sources:
            source.children -= 1
            if not source.children and not source.views:
                self._release(source)

    def _count(self, node: Node, device: int) -> None:
        """Count who needs what, and place inputs before all else."""
        if node.view_of is not None and node.op != "none":
            node.view_of.views += 1
        if node.is_input:
            self._place(node, device)
        for source in node.sources:
            source.children += 1
            if source.is_input:
                self._place(source, device)

    def _place(self, node: Node, device: int) -> None:
        if node.owned or node.home is not None or node.view_of is not None:
            return
        node.owned = True
        if node.op in IN_PLACE and self._reuse(node):
            return
        node.arena, node.slot = device, self._slots
        self._slots += 1
        self._note(TAKE, node, self._size(node, device))

    def _reuse(self, node: Node) -> bool:
        """Take over the memory of a source that nothing else needs and that looks the same."""
        for parent in node.sources:
            if (
                parent.owned
                and not parent.is_output
                and parent.children == 1
                and parent.views == 0
                and parent.shape == node.shape
                and parent.size == node.size
            ):
                node.arena, node.slot = parent.arena, parent.slot
                parent.owned = False
                if parent.extra and parent.arena != self.host:
                    # The scratch of flash attention lies behind its result.
                    had, needed = (self._size(each, node.arena) for each in (parent, node))
                    self._note(TRIM, node, had, needed)
                return True
        return False

    def _release(self, parent: Node) -> None:
        root = parent.view_of
        if root is None:
            if parent.owned:
                self._free(parent)
            return
        root.views -= 1
        if root.views == 0 and root.children == 0 and root.owned:
            self._free(root)

    def _free(self, node: Node) -> None:
        if not node.is_output:
            node.owned = False
            self._note(GIVE, node, self._size(node, node.arena))

    def _note(self, kind: int, node: Node, size: int, smaller: int = 0) -> None:
        self.events.append((kind, node.arena, node.slot, size, smaller))

    def _size(self, node: Node, arena: int) -> int:
        self.sizes.append(node.size if arena == self.host else node.size + node.extra)
        return len(self.sizes) - 1


class Arena:
    """Free blocks as two lists, sorted by offset. The last block is endless."""

    __slots__ = ("has_empty", "offsets", "peak", "sizes")

    def __init__(self) -> None:
        """Begin with one endless block."""
        self.offsets = [0]
        self.sizes = [ENDLESS]
        self.peak = 0
        self.has_empty = False

    def take(self, size: int) -> int:
        """Take the smallest free block that is large enough, and say where it begins."""
        offsets, sizes = self.offsets, self.sizes
        last = len(sizes) - 1
        best, best_size = last, ENDLESS
        for i in range(last):
            if size <= sizes[i] <= best_size:
                best, best_size = i, sizes[i]
        offset = offsets[best]
        if sizes[best] == size:
            del offsets[best], sizes[best]
        else:
            offsets[best] += size
            sizes[best] -= size
        if offset + size > self.peak:  # noqa: PLR1730 - a call of max takes longer
            self.peak = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Give a block back and join it with its free neighbours."""
        offsets, sizes = self.offsets, self.sizes
        if self.has_empty or not size:
            self._give_in_order(offset, size)
            return
        i = 0
        while offsets[i] < offset:
            i += 1
        joins_next = offset + size == offsets[i]
        if i and offsets[i - 1] + sizes[i - 1] == offset:
            sizes[i - 1] += size
            if joins_next:
                sizes[i - 1] += sizes[i]
                del offsets[i], sizes[i]
        elif joins_next:
            offsets[i] = offset
            sizes[i] += size
        else:
            offsets.insert(i, offset)
            sizes.insert(i, size)

    def _give_in_order(self, offset: int, size: int) -> None:
        """Give back as ggml does once a block without bytes was: it lies within others.

        ggml-alloc.c, ggml_dyn_tallocr_free_bytes: the first block that touches is taken.
        """
        self.has_empty = True
        offsets, sizes = self.offsets, self.sizes
        for i, begin in enumerate(offsets):
            if begin + sizes[i] == offset:
                sizes[i] += size
                self._join(i)
                return
            if offset + size == begin:
                offsets[i] = offset
                sizes[i] += size
                if i:
                    self._join(i - 1)
                return
        place = next((i for i, begin in enumerate(offsets) if begin >= offset), len(offsets))
        offsets.insert(place, offset)
        sizes.insert(place, size)

    def _join(self, i: int) -> None:
        """Join a block with the next where they touch."""
        offsets, sizes = self.offsets, self.sizes
        if i + 1 < len(offsets) and offsets[i] + sizes[i] == offsets[i + 1]:
            sizes[i] += sizes.pop(i + 1)
            del offsets[i + 1]


def peaks(events: Sequence[Event], sizes: Sequence[int], alignments: Sequence[int]) -> list[int]:
    """Replay events with unpadded ``sizes`` and return the largest extent of each arena."""
    arenas = [Arena() for _ in alignments]
    masks = [alignment - 1 for alignment in alignments]
    offsets = [0] * len(events)
    for kind, index, slot, size_index, smaller_index in events:
        mask = masks[index]
        size = (sizes[size_index] + mask) & ~mask
        if kind == TAKE:
            offsets[slot] = arenas[index].take(size)
        elif kind == GIVE:
            arenas[index].give(offsets[slot], size)
        else:
            smaller = (sizes[smaller_index] + mask) & ~mask
            if smaller < size:
                arenas[index].give(offsets[slot] + smaller, size - smaller)
    return [arena.peak for arena in arenas]
