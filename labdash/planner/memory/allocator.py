"""ggml's graph allocator, replayed: how large a device's compute buffer gets.

Source: ggml/src/ggml-alloc.c. Each buffer is one arena that grows; a request takes the smallest
free block that is large enough, the last block being endless.
"""

from collections.abc import Sequence

from labdash.planner.memory.graph import Node

# ggml-alloc.c, ggml_op_can_inplace: the operations that occur in the graphs of models.
IN_PLACE = frozenset(
    (
        "add", "add_id", "sub", "mul", "div", "scale", "sqr", "sqrt", "log", "unary", "rope",
        "rms_norm", "soft_max", "clamp", "fill",
    )
)  # fmt: skip
ENDLESS = 1 << 62


class Arena:
    """Free blocks as two lists, sorted by offset."""

    __slots__ = ("alignment", "offsets", "peak", "sizes")

    def __init__(self, alignment: int) -> None:
        """Begin with one endless block."""
        self.alignment = alignment
        self.offsets = [0]
        self.sizes = [ENDLESS]
        self.peak = 0

    def take(self, size: int) -> int:
        """Take a block and say where it begins."""
        offsets, sizes = self.offsets, self.sizes
        best, best_size = len(sizes) - 1, ENDLESS
        for i in range(len(sizes) - 1):
            if size <= sizes[i] <= best_size:
                best, best_size = i, sizes[i]
        offset = offsets[best]
        if sizes[best] == size:
            del offsets[best], sizes[best]
        else:
            offsets[best] += size
            sizes[best] -= size
        if best_size == ENDLESS:
            self.peak = max(self.peak, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Give a block back and join it with its free neighbours."""
        offsets, sizes = self.offsets, self.sizes
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


class Allocator:
    """Places the nodes of a scheduled graph in one arena a device."""

    def __init__(self, alignments: Sequence[int]) -> None:
        """Make an arena for each device, the host's last."""
        self.arenas = [Arena(alignment) for alignment in alignments]
        self._host = len(alignments) - 1

    def run(
        self, nodes: Sequence[tuple[Node, int]], leaves: Sequence[tuple[Node, int]]
    ) -> list[int]:
        """Replay the allocation and return each arena's peak in bytes."""
        for leaf, device in leaves:
            self._place(leaf, device)
        for node, device in nodes:
            self._count(node, device)
        for node, device in nodes:
            for source in node.sources:
                self._place(source, device)
            self._place(node, device)
            for source in node.sources:
                self._release(source)
        return [arena.peak for arena in self.arenas]

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
        node.buffer = device
        node.offset = self.arenas[device].take(self._padded(node, device))

    def _reuse(self, node: Node) -> bool:
        """Take over the memory of a source that nothing else needs and that looks the same."""
        for parent in node.sources:
            if (
                parent.owned
                and not parent.is_output
                and parent.shape == node.shape
                and parent.size == node.size
                and parent.children == 1
                and parent.views == 0
            ):
                node.buffer, node.offset = parent.buffer, parent.offset
                parent.owned = False
                self._give_rest(node, parent)
                return True
        return False

    def _give_rest(self, node: Node, parent: Node) -> None:
        """Free what the parent had behind its result, as the scratch of flash attention."""
        device = parent.buffer
        had, needed = self._padded(parent, device), self._padded(node, device)
        if had > needed:
            self.arenas[device].give(parent.offset + needed, had - needed)

    def _release(self, parent: Node) -> None:
        parent.children -= 1
        if parent.children or parent.views:
            return
        root = parent.view_of
        if root is None:
            if parent.owned:
                self._free(parent)
            return
        root.views -= 1
        if root.views == 0 and root.children == 0 and root.owned:
            self._free(root)

    def _free(self, node: Node) -> None:
        if node.is_output:
            return
        node.owned = False
        self.arenas[node.buffer].give(node.offset, self._padded(node, node.buffer))

    def _padded(self, node: Node, device: int) -> int:
        size = node.size if device == self._host else node.size + node.extra
        alignment = self.arenas[device].alignment
        return (size + alignment - 1) // alignment * alignment
