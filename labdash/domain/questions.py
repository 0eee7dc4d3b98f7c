"""When two labs are the same question: all alike, and what is measured differs by little."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from labdash.planner.lab import Lab
from labdash.planner.model import Model

# Changes each second where somebody works. So much more or less changes no plan that counts.
MEASURED: Mapping[str, int] = {
    "used_bytes": 128 << 20,
    "ram_used_bytes": 512 << 20,
    "disk_free_bytes": 2 << 30,
    "gpu_bytes": 128 << 20,
}
# Words about what is measured.
IGNORED = frozenset(("doubt",))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """``said`` stands for all that is not measured; ``measured`` has figures with their leeway."""

    said: str
    measured: tuple[tuple[int, int], ...]

    def is_near(self, other: "Figures") -> bool:
        """Whether a plan for one will do for the other."""
        if self.said != other.said or len(self.measured) != len(other.measured):
            return False
        pairs = zip(self.measured, other.measured, strict=True)
        return all(abs(one - two) <= leeway for (one, leeway), (two, _) in pairs)


def figures_of(lab: Lab, *beside: object) -> Figures:
    """Read a lab; ``beside`` it is what else belongs to the question."""
    measured: list[tuple[int, int]] = []
    known: dict[int, str] = {}
    digest = hashlib.sha256()
    for word in _words([lab.nodes, lab.deployments, beside], measured, known):
        digest.update(word.encode())
        digest.update(b"\0")
    return Figures(said=digest.hexdigest(), measured=tuple(measured))


def _words(value: Any, measured: list[tuple[int, int]], known: dict[int, str]) -> Iterator[str]:
    """Write a value so that equal ones are written alike; each object once."""
    if isinstance(value, Model):
        yield f"{value.name} {value.quant} {value.weight_bytes}"
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _dataclass(value, measured, known)
    elif isinstance(value, Mapping):
        yield "{"
        for key in sorted(value, key=str):
            yield str(key)
            yield from _words(value[key], measured, known)
    elif isinstance(value, frozenset):
        yield repr(sorted(value, key=str))
    elif isinstance(value, list | tuple):
        yield "("
        for each in value:
            yield from _words(each, measured, known)
    else:
        yield repr(value)


def _dataclass(value: Any, measured: list[tuple[int, int]], known: dict[int, str]) -> Iterator[str]:
    seen = known.get(id(value))
    if seen is not None:
        yield seen
        return
    known[id(value)] = f"#{len(known)}"
    yield type(value).__name__
    for field in fields(value):
        content = getattr(value, field.name)
        if field.name in MEASURED and content is not None:
            figures = content.values() if isinstance(content, Mapping) else [content]
            measured.extend((figure, MEASURED[field.name]) for figure in figures)
        elif field.name not in IGNORED:
            yield from _words(content, measured, known)
