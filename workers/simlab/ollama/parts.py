"""The parts of a download, as Ollama cuts them and writes them to its part files."""

import json
from dataclasses import dataclass
from pathlib import Path

# Ollama's own sizes.
_PARTS = 16
_MIN_PART_BYTES, _MAX_PART_BYTES = 100_000_000, 1_000_000_000


@dataclass(kw_only=True)
class Part:
    """One part of a download, in bytes, as Ollama writes it to ``-partial-<n>``."""

    number: int
    offset: int
    size: int
    completed: int = 0


class PartFileError(ValueError):
    """A part file is unreadable; the message is Go's."""


def read_part(path: Path) -> Part:
    """Read one part file. Raises PartFileError."""
    text = path.read_text()
    if not text:
        raise PartFileError("EOF")
    entry = json.loads(text)
    number, offset, size = entry["N"], entry["Offset"], entry["Size"]
    return Part(number=number, offset=offset, size=size, completed=entry["Completed"])


def part_text(part: Part) -> str:
    """Write one part as its file has it."""
    place = {"N": part.number, "Offset": part.offset, "Size": part.size}
    return json.dumps(place | {"Completed": part.completed}, separators=(",", ":"))


def split(total: int) -> list[Part]:
    """Cut a blob of ``total`` bytes."""
    size = min(max(total // _PARTS, _MIN_PART_BYTES), _MAX_PART_BYTES)
    offsets = range(0, total, size)
    return [
        Part(number=number, offset=offset, size=min(size, total - offset))
        for number, offset in enumerate(offsets)
    ]


def spread(parts: list[Part], size_bytes: int) -> None:
    """Let all unfinished parts grow alike by ``size_bytes`` together."""
    while size_bytes > 0:
        open_parts = [part for part in parts if part.completed < part.size]
        if not open_parts:
            return
        share = max(size_bytes // len(open_parts), 1)
        for part in open_parts:
            step = min(share, size_bytes, part.size - part.completed)
            part.completed += step
            size_bytes -= step
