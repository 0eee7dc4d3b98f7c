"""Metadata of a GGUF file, read as numbers. Keys are without the architecture before them."""

from collections.abc import Mapping
from dataclasses import dataclass

from labdash.planner.errors import PlannerError


@dataclass(frozen=True, slots=True)
class Length:
    """An array of which only the number of elements was kept."""

    count: int


# Larger than any count of a model; infinite and "not a number" are no counts either.
MOST = 2**53

type Scalar = int | float | bool | str
type Value = Scalar | tuple[Scalar, ...] | Length


class Facts:
    """Metadata of one architecture, read as numbers."""

    def __init__(self, metadata: Mapping[str, Value]) -> None:
        """Raise ``PlannerError`` where the architecture is not told."""
        arch = metadata.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise PlannerError("the model does not say its architecture (general.architecture)")
        self.arch = arch
        self._metadata = metadata

    def value(self, key: str) -> Value | None:
        """Take what the file says, None where it says nothing."""
        return self._metadata.get(f"{self.arch}.{key}")

    def number(self, key: str, default: int | None = None) -> int:
        """Read a count, of a list its largest. Without a default it must be there."""
        value = self.value(key)
        if isinstance(value, tuple) and value and all(map(_is_count, value)):
            value = max(value, key=int)
        if isinstance(value, int | float) and _is_count(value):
            return int(value)
        if value is not None:
            raise PlannerError(f"{self.arch}.{key} is not a number: {value!r}"[:200])
        if default is None:
            raise PlannerError(f"the model does not say its {self.arch}.{key}")
        return default

    def per_layer(self, key: str, count: int, default: int | None = None) -> list[int]:
        """Read a count of each layer, where one may stand for all."""
        value = self.value(key)
        if not isinstance(value, tuple):
            return [self.number(key, default)] * count
        if len(value) < count:
            raise PlannerError(f"{self.arch}.{key} lists {len(value)} of {count} layers")
        if not all(map(_is_count, value)):
            raise PlannerError(f"{self.arch}.{key} lists what is not a number")
        return [int(each) for each in value[:count]]


def count_or(value: Value | None, default: int, *, most: int = MOST) -> int:
    """Read a count, ``default`` where the value is none that a model can have."""
    if isinstance(value, int | float) and 0 <= value <= most:
        return int(value)
    return default


def _is_count(value: Scalar) -> bool:
    return not isinstance(value, str) and 0 <= value <= MOST
