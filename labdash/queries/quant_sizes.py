"""How large the quantizations of a model get."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type
from labdash.planner.model import Model, Tensor
from labdash.planner.quants import needs_imatrix
from labdash.queries.opening import Source, open_plain, requantized

# The keys that llama-quantize adds where they are missing, in bytes: length, name, type, value.
VERSION_KEY_BYTES = 8 + len("general.quantization_version") + 4 + 4
FILE_TYPE_KEY_BYTES = 8 + len("general.file_type") + 4 + 4


@dataclass(frozen=True, slots=True)
class QuantSize:
    """``bytes`` are the tensors' data; ``file_bytes`` is None where no header is known.

    ``needs_imatrix``: llama-quantize tells the size without an importance matrix, and makes the
    file only with one.
    """

    quant: str
    bytes: int
    file_bytes: int | None
    bits_per_weight: float
    types: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    needs_imatrix: bool


def sizes_of(source: str, quant: str | None, *, imatrix: bool) -> list[QuantSize]:
    """Size one quantization, or all that can be made. Raises ``PlannerError``."""
    opened = open_plain(source)
    if quant is not None:
        return [_size(opened, requantized(opened.model, quant, imatrix=imatrix), find(quant))]
    return list(_all(opened, imatrix=imatrix))


def find(quant: str) -> str:
    """Write a file type as llama-quantize does."""
    return find_file_type(quant).name


def _all(opened: Source, *, imatrix: bool) -> Iterable[QuantSize]:
    for name in FILE_TYPES:
        try:
            yield _size(opened, requantized(opened.model, name, imatrix=imatrix), name)
        except PlannerError:
            # Not every type can be made of every model.
            continue


def _size(opened: Source, model: Model, quant: str) -> QuantSize:
    elements = sum(prod(tensor.shape) for tensor in model.tensors)
    return QuantSize(
        quant=quant,
        bytes=model.weight_bytes,
        file_bytes=_file_bytes(opened, model),
        bits_per_weight=8 * model.weight_bytes / elements,
        types=dict(Counter(tensor.type for tensor in model.tensors).most_common()),
        tensors=model.tensors,
        needs_imatrix=needs_imatrix(model.tensors, find_file_type(quant)),
    )


def _file_bytes(opened: Source, model: Model) -> int | None:
    if opened.header_bytes is None:
        return None
    metadata = model.metadata
    header = opened.header_bytes
    header += 0 if "general.quantization_version" in metadata else VERSION_KEY_BYTES
    header += 0 if "general.file_type" in metadata else FILE_TYPE_KEY_BYTES
    sizes = [header, *(tensor.bytes for tensor in model.tensors)]
    return sum(-(-size // opened.alignment) * opened.alignment for size in sizes)
