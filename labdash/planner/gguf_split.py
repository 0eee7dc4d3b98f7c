"""Models that are split over several GGUF files, and how a header becomes a model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value
from labdash.planner.file_types import name_of_id
from labdash.planner.gguf import Header
from labdash.planner.model import Model

MOST_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Split:
    """Which part a file is: ``number`` counts from 1, ``tensors`` are those of all parts."""

    number: int
    count: int
    tensors: int | None


def split_of(header: Header) -> Split | None:
    """Read which part a file is, None where it is a whole model."""
    count = _whole(header.metadata.get("split.count"))
    if count is None or count < 2 or header.parts > 1:  # noqa: PLR2004 - one part is no split
        return None
    number = _whole(header.metadata.get("split.no"))
    if number is None or not 0 <= number < count or count > MOST_PARTS:
        raise PlannerError(f"this GGUF file is damaged: it says to be part {number} of {count:,}")
    return Split(number + 1, count, _whole(header.metadata.get("split.tensors.count")))


def merge(headers: Sequence[Header]) -> Header:
    """Put the headers of all parts of a model together, in whichever order they come."""
    found = [(split, header) for header in headers if (split := split_of(header))]
    if len(found) < len(headers) or not found:
        raise PlannerError("not all of these files are parts of a split model")
    parts = {split.number: header for split, header in found}
    _check_parts([split for split, _ in found])
    first = parts[1]
    merged = Header(
        version=first.version,
        metadata=first.metadata,
        tensors=tuple(tensor for number in sorted(parts) for tensor in parts[number].tensors),
        alignment=first.alignment,
        header_bytes=sum(header.header_bytes for header in headers),
        data_offset=sum(header.data_offset for header in headers),
        data_bytes=sum(header.data_bytes for header in headers),
        warnings=tuple(dict.fromkeys(text for header in headers for text in header.warnings)),
        parts=len(parts),
    )
    _check_tensors(merged, found[0][0].tensors)
    return merged


def model_of(header: Header, *, name: str) -> Model:
    """Make a model of a whole header. ``name`` is what the user calls it."""
    split = split_of(header)
    if split:
        others = split.count - 1
        raise PlannerError(
            f"this is part {split.number} of {split.count} of a split model: "
            f"{others} more {'file is' if others == 1 else 'files are'} missing"
        )
    if not header.tensors:
        raise PlannerError("this GGUF file holds no tensors, so there is nothing to load")
    if not isinstance(header.metadata.get("general.architecture"), str):
        raise PlannerError(
            'this GGUF file does not name its model: "general.architecture" is missing'
        )
    return Model(name, _quant(header.metadata), header.metadata, header.tensors, "file")


def _quant(metadata: dict[str, Value]) -> str | None:
    file_type = _whole(metadata.get("general.file_type"))
    return None if file_type is None else name_of_id(file_type)


def _whole(value: Value | None) -> int | None:
    return value if type(value) is int else None


def _check_parts(splits: Sequence[Split]) -> None:
    counts = {split.count for split in splits}
    if len(counts) > 1 or len({split.tensors for split in splits}) > 1:
        raise PlannerError("these files are parts of different models")
    (count,) = counts
    numbers = Counter(split.number for split in splits)
    twice = [str(number) for number, times in sorted(numbers.items()) if times > 1]
    if twice:
        raise PlannerError(f"part {', '.join(twice)} of {count} was given twice")
    missing = [str(number) for number in range(1, count + 1) if number not in numbers]
    if missing:
        raise PlannerError(f"part {', '.join(missing)} of {count} is missing")


def _check_tensors(merged: Header, wanted: int | None) -> None:
    names = Counter(tensor.name for tensor in merged.tensors)
    twice = next((name for name, times in names.items() if times > 1), None)
    if twice:
        raise PlannerError(f'two parts hold the tensor "{twice}"')
    if wanted is not None and wanted != len(merged.tensors):
        raise PlannerError(
            f"the parts hold {len(merged.tensors):,} tensors together, not {wanted:,}"
        )
