"""The tensor table of a GGUF file: sizes, and whether the tensors lie as llama.cpp demands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from struct import Struct

from labdash.planner.errors import PlannerError
from labdash.planner.ggml import TYPES, TYPES_BY_ID, tensor_bytes
from labdash.planner.gguf_values import U32, Portions, Steps
from labdash.planner.model import Tensor

NAME_LIMIT_BYTES = 63
MOST_DIMENSIONS = 4
DIMENSION_LIMIT = 2**40
SIZE_LIMIT = 2**63
# By number of dimensions: these, the type, and the offset in the data.
_PLACES = tuple(Struct(f"<{count}qiQ") for count in range(MOST_DIMENSIONS + 1))
# A name's length, the number of dimensions, type and offset.
ENTRY_LEAST_BYTES = 8 + 4 + _PLACES[0].size
_REMOVED = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table. ``offset`` counts from where the data begin."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Table:
    """``data_bytes`` ends with the last tensor, without the padding after it."""

    tensors: tuple[Tensor, ...]
    data_bytes: int
    warnings: tuple[str, ...]


def read_entry(portions: Portions) -> Steps[Entry]:
    """Read one row of the table."""
    name = yield from portions.string(NAME_LIMIT_BYTES, "the name of a tensor")
    count = yield from portions.number(U32)
    if count > MOST_DIMENSIONS:
        raise PlannerError(f'this GGUF file is damaged: tensor "{name}" has {count:,} dimensions')
    begin = yield from portions.take(_PLACES[count].size)
    *shape, type_id, offset = _PLACES[count].unpack_from(portions.buffer, begin)
    # A tensor without dimensions is one number.
    return Entry(name, check_shape(name, shape or [1]), type_id, offset)


def check_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Refuse dimensions that no tensor has."""
    if any(not 0 <= size <= DIMENSION_LIMIT for size in shape) or prod(shape) >= SIZE_LIMIT:
        raise PlannerError(
            f'tensor "{name}" has impossible dimensions: {" x ".join(map(str, shape))}'
        )
    return tuple(shape)


def sized_tensor(name: str, shape: tuple[int, ...], kind: str) -> Tensor:
    """Make a tensor of a known type."""
    if shape[0] % TYPES[kind].block:
        raise PlannerError(
            f'tensor "{name}" has rows of {shape[0]:,}, no multiple of the '
            f"{TYPES[kind].block} that {kind} packs together"
        )
    size_bytes = tensor_bytes(kind, shape)
    if size_bytes >= SIZE_LIMIT:
        raise PlannerError(f'tensor "{name}" has an impossible size')
    return Tensor(name, shape, kind, size_bytes)


def measure(entries: Sequence[Entry], *, alignment: int, data_bytes: int | None) -> Table:
    """Size all tensors. ``data_bytes`` is what the file holds of them, where that is known."""
    _check_names(entries)
    tensors, at = [], 0
    for index, entry in enumerate(entries):
        if entry.offset != at:
            raise PlannerError(
                f'this GGUF file is damaged: tensor "{entry.name}" begins at {entry.offset:,} of '
                f"the data, where {at:,} was due"
            )
        after = entries[index + 1].offset if index + 1 < len(entries) else data_bytes
        tensors.append(_tensor(entry, after))
        at += padded(tensors[-1].bytes, alignment)
    end = entries[-1].offset + tensors[-1].bytes if entries else 0
    return Table(tuple(tensors), end, _warnings(entries))


def padded(size_bytes: int, alignment: int) -> int:
    """Round up to a multiple of ``alignment``."""
    return -(-size_bytes // alignment) * alignment


def _tensor(entry: Entry, after: int | None) -> Tensor:
    if entry.type_id in _REMOVED:
        raise PlannerError(
            f'tensor "{entry.name}" has the type {_REMOVED[entry.type_id]}, which llama.cpp '
            "removed: made by an old llama.cpp, get a newer file"
        )
    kind = TYPES_BY_ID.get(entry.type_id)
    if kind:
        return sized_tensor(entry.name, entry.shape, kind.name)
    if after is None or after <= entry.offset:
        raise PlannerError(
            f'tensor "{entry.name}" has the unknown type {entry.type_id}, '
            "and nothing tells its size"
        )
    return Tensor(entry.name, entry.shape, f"type {entry.type_id}", after - entry.offset)


def _check_names(entries: Iterable[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise PlannerError(f'this GGUF file is damaged: it has two tensors "{entry.name}"')
        seen.add(entry.name)


def _warnings(entries: Iterable[Entry]) -> tuple[str, ...]:
    unknown = sorted({entry.type_id for entry in entries} - TYPES_BY_ID.keys())
    return tuple(
        f"tensor type {type_id} is newer than LabDash: its sizes are taken from where the next "
        "tensor begins"
        for type_id in unknown
    )
