"""Headers of GGUF files: the facts of a model and its tensors, without the weights.

Layout and rules: ``gguf.h`` and ``gguf.cpp`` of ggml. Whatever a file says, reading it ends, takes
bounded memory, and raises nothing but ``PlannerError``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value
from labdash.planner.gguf_looks import MAGIC, SEEN_BYTES, no_gguf
from labdash.planner.gguf_tensors import ENTRY_LEAST_BYTES, Entry, measure, padded, read_entry
from labdash.planner.gguf_values import KEY_LIMIT_BYTES, Portions, Steps, cut, read_value
from labdash.planner.model import Tensor

HEADER_LIMIT_BYTES = 512 * 2**20
PORTION_BYTES = 256 * 2**10
KEYS_LIMIT = 65_536
TENSORS_LIMIT = 131_072
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
_ALIGNMENT_KEY = "general.alignment"
# Magic, version, number of tensors, number of metadata.
_OPENING = Struct("<4sIqq")
# A key's length, the type of its value, and the shortest value.
_PAIR_LEAST_BYTES = 8 + 4 + 1


@dataclass(frozen=True, slots=True)
class Header:
    """``data_offset`` is where the tensors begin, behind the header and what fills it up.

    ``data_bytes`` is what they take; ``parts`` counts the files that were put together, of a model
    that is split over several.
    """

    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    header_bytes: int
    data_offset: int
    data_bytes: int
    warnings: tuple[str, ...] = ()
    parts: int = 1

    @property
    def file_bytes(self) -> int:
        """Count the bytes of the whole file."""
        return self.data_offset + self.data_bytes


class HeaderReader:
    """Reads a header that is fed in portions.

    Feed the bytes of the file in order until ``needs`` is 0; then ``header`` is there. ``needs``
    is how many more bytes are wanted at least; any number may be fed. ``file_bytes`` is the size
    of the whole file, None where it is not known.
    """

    def __init__(
        self, *, file_bytes: int | None = None, limit_bytes: int = HEADER_LIMIT_BYTES
    ) -> None:
        """Begin with the first byte of a file."""
        if file_bytes is not None and file_bytes < _OPENING.size:
            # Too short to be one: what it is instead is told once it was seen.
            file_bytes = None
        self._portions = Portions(file_bytes=file_bytes, limit_bytes=limit_bytes)
        self.header: Header | None = None
        self._steps = _read(self._portions, file_bytes)
        self.needs = next(self._steps)

    def feed(self, portion: bytes) -> None:
        """Take in the next bytes. Those after the header are ignored."""
        if self.header:
            return
        self._portions.buffer += portion
        try:
            self.needs = next(self._steps)
        except StopIteration as done:
            self.header, self.needs = done.value, 0
            self._portions.buffer.clear()

    def finish(self) -> Header:
        """Give the header where there is nothing more to feed."""
        if self.header:
            return self.header
        fed = self._portions
        if fed.position == 0 and not fed.buffer.startswith(MAGIC):
            raise no_gguf(bytes(fed.buffer[:SEEN_BYTES]))
        raise cut(fed.position - fed.at + len(fed.buffer))


def read_header(content: bytes, *, file_bytes: int | None = None) -> Header:
    """Read the header of a file of which ``content`` is the beginning, or all."""
    view = memoryview(content)
    return read_header_from(lambda at, size: bytes(view[at : at + size]), file_bytes=file_bytes)


def read_header_from(
    read: Callable[[int, int], bytes],
    *,
    file_bytes: int | None = None,
    limit_bytes: int = HEADER_LIMIT_BYTES,
    portion_bytes: int = PORTION_BYTES,
) -> Header:
    """Read a header by ``read(offset, size)``, which gives less where the file ends."""
    reader = HeaderReader(file_bytes=file_bytes, limit_bytes=limit_bytes)
    at = 0
    while reader.needs:
        portion = read(at, max(portion_bytes, reader.needs))
        if not portion:
            break
        reader.feed(portion)
        at += len(portion)
    return reader.finish()


def _read(portions: Portions, file_bytes: int | None) -> Steps[Header]:
    version, tensor_count, pair_count = yield from _opening(portions)
    metadata = yield from _metadata(portions, pair_count)
    entries = yield from _entries(portions, tensor_count)
    alignment = _alignment(metadata)
    data_offset = padded(portions.position, alignment)
    there = file_bytes - data_offset if file_bytes and file_bytes > data_offset else None
    table = measure(entries, alignment=alignment, data_bytes=there)
    return Header(
        version=version,
        metadata=metadata,
        tensors=table.tensors,
        alignment=alignment,
        header_bytes=portions.position,
        data_offset=data_offset,
        data_bytes=table.data_bytes,
        warnings=table.warnings,
    )


def _opening(portions: Portions) -> Steps[tuple[int, int, int]]:
    """Read version, number of tensors and number of metadata."""
    begin = yield from portions.take(_OPENING.size)
    magic, version, tensor_count, pair_count = _OPENING.unpack_from(portions.buffer, begin)
    if magic != MAGIC:
        raise no_gguf(bytes(portions.buffer[:SEEN_BYTES]))
    _check_version(version)
    _check_count(tensor_count, TENSORS_LIMIT, "tensors")
    _check_count(pair_count, KEYS_LIMIT, "metadata")
    portions.claim(pair_count, _PAIR_LEAST_BYTES, "metadata")
    portions.claim(tensor_count, ENTRY_LEAST_BYTES, "tensors")
    return version, tensor_count, pair_count


def _check_version(version: int) -> None:
    if version in VERSIONS:
        return
    if version and not version & 0xFFFF:
        raise PlannerError("this GGUF file is big-endian: made for another kind of processor")
    if version == 1:
        raise PlannerError(
            "this GGUF file has version 1, which llama.cpp reads no more: get a newer"
        )
    raise PlannerError(f"this GGUF file has version {version:,}; LabDash knows 2 and 3")


def _check_count(count: int, limit: int, what: str) -> None:
    if not 0 <= count <= limit:
        raise PlannerError(
            f"this GGUF file is damaged: it claims {count:,} {what}, {limit:,} are allowed"
        )


def _metadata(portions: Portions, count: int) -> Steps[dict[str, Value]]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = yield from portions.string(KEY_LIMIT_BYTES, "a key")
        if key in metadata:
            raise PlannerError(f'this GGUF file is damaged: it has "{key}" twice')
        metadata[key] = yield from read_value(portions, key)
    return metadata


def _entries(portions: Portions, count: int) -> Steps[list[Entry]]:
    entries: list[Entry] = []
    while len(entries) < count:
        entries += [(yield from read_entry(portions))]
    return entries


def _alignment(metadata: dict[str, Value]) -> int:
    alignment = metadata.get(_ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise PlannerError(
            f'this GGUF file is damaged: "{_ALIGNMENT_KEY}" is {alignment!r}, no power of two'
        )
    return alignment


def check_data(header: Header, file_bytes: int, *, installed: bool) -> tuple[str, ...]:
    """Warn where a file holds less than its tensors take; an installed one may not.

    A header alone is fine: it was cut on purpose.
    """
    short = header.data_bytes and file_bytes < header.file_bytes
    if not short or (file_bytes <= header.data_offset and not installed):
        return ()
    there, due = _sizes(file_bytes, header.file_bytes)
    if installed:
        raise PlannerError(f"this GGUF file is truncated: {there} of {due}; get it again")
    return (f"truncated: {there} of {due}",)


def _sizes(there_bytes: int, due_bytes: int) -> tuple[str, str]:
    unit, name = (1e9, "GB") if due_bytes >= 1e9 else (1e6, "MB")  # noqa: PLR2004 - one GB
    there, due = f"{there_bytes / unit:.1f}", f"{due_bytes / unit:.1f}"
    return (there, f"{due} {name}") if there != due else (f"{there_bytes}", f"{due_bytes} bytes")
