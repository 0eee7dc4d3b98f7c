"""A model as the planner sees it: what its file says of itself, and its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from labdash.planner.facts import Value
from labdash.planner.ggml import TYPES
from labdash.planner.shape import Shape, read_shape

# Where the tensors are known from. "file" and "show" list them; "rules" computes them from the
# model's shape and the rules of llama-quantize.
type TensorSource = Literal["file", "show", "rules"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """``shape`` begins with the row length. ``bytes`` is unpadded; ``type`` as ggml names it."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


_BLOCK = re.compile(r"blk\.([0-9]{1,9})\.(.+)")


def place_of(name: str) -> tuple[int | None, str]:
    """Tell the block of a tensor and its name there; None where it belongs to no block."""
    found = _BLOCK.fullmatch(name)
    return (int(found[1]), found[2]) if found else (None, name)


@dataclass(frozen=True, slots=True)
class Table:
    """A model's tensors by block and name within it; ``ends`` are those of no block."""

    blocks: tuple[Mapping[str, Tensor], ...]
    ends: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Model:
    """``metadata`` has the keys of a GGUF file, ``general.architecture`` among them.

    Two models are the same only where they are one object, so that what follows from one can be
    kept beside it.
    """

    name: str
    quant: str | None
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    tensor_source: TensorSource

    @cached_property
    def shape(self) -> Shape:
        """Read layers, widths and heads. Raises ``PlannerError`` where the file lacks one."""
        names = {tensor.name: tensor.shape for tensor in self.tensors}
        return read_shape(self.metadata, names)

    @cached_property
    def crosses_layers(self) -> bool:
        """Tell whether layers take more than the output of the one before.

        Those that scan leave pieces of memory without bytes, which all later layers come upon.
        """
        shape = self.shape
        scans = any("ssm_in.weight" in block for block in self.table.blocks)
        return bool(shape.per_layer) or scans or not all(each.owns_cache for each in shape.layers)

    @cached_property
    def weight_bytes(self) -> int:
        """Sum the tensors' bytes without padding."""
        return sum(tensor.bytes for tensor in self.tensors)

    @cached_property
    def unknown_types(self) -> tuple[str, ...]:
        """List the types that LabDash does not know: their sizes follow from where data lie."""
        return tuple(sorted({each.type for each in self.tensors} - TYPES.keys()))

    @cached_property
    def table(self) -> Table:
        """Sort the tensors by block. Those of blocks that the model does not count are left out."""
        blocks: list[dict[str, Tensor]] = [{} for _ in range(self.shape.block_count)]
        ends = {}
        for tensor in self.tensors:
            index, name = place_of(tensor.name)
            if index is None:
                ends[name] = tensor
            elif index < len(blocks):
                blocks[index][name] = tensor
        return Table(tuple(blocks), ends)
