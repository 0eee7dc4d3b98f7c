"""The pieces of a GGUF header, read from hostile bytes that come in portions.

Each reading is a generator that yields how many bytes it lacks and goes on when they were fed.
Nothing is kept whose size the file alone decides: long arrays and texts become their length.
"""

import re
from collections.abc import Generator
from struct import Struct

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Length, Value

type Steps[T] = Generator[int, None, T]

# Real headers have 2 to 25 MiB; the largest texts are chat templates of about 100 KiB.
STRING_LIMIT_BYTES = 16 * 2**20
KEY_LIMIT_BYTES = 65_535
ARRAY_LIMIT = 16_777_216
KEPT_STRING_BYTES = 64 * 2**10
KEPT_ELEMENTS = 4096
KEPT_LIMIT_BYTES = 16 * 2**20
# What an element of a tuple takes in memory.
ELEMENT_BYTES = 40

U32, U64, I32 = Struct("<I"), Struct("<Q"), Struct("<i")
BOOL, STRING, ARRAY = 7, 8, 9
FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, BOOL, 10, 11, 12), "BbHhIif?Qqd", strict=True))
SCALARS = {kind: Struct(f"<{letter}") for kind, letter in FORMATS.items()}

# A vocabulary's texts are short: an expression passes over so many at once, five times as fast as
# a loop. Each way is a length of eight bytes, then that many bytes.
SHORT_TEXTS = 256
_SHORT_TEXTS = re.compile(
    b"(?:%s){%d}+"
    % (
        b"|".join(b"\\x%02x\\0{7}.{%d}" % (size, size) for size in range(128)),
        SHORT_TEXTS,
    ),
    re.DOTALL,
)


class Portions:
    """Bytes fed in portions and read once, in order.

    ``file_bytes`` is the size of the whole file, None where it is not known; ``limit_bytes`` the
    longest header that is read.
    """

    def __init__(self, *, file_bytes: int | None, limit_bytes: int) -> None:
        """Begin with nothing read."""
        self.buffer = bytearray()
        self.at = 0
        self._gone = 0
        self._kept = 0
        self._file_bytes = file_bytes
        self._limit_bytes = limit_bytes

    @property
    def position(self) -> int:
        """Count the bytes that were read."""
        return self._gone + self.at

    def claim(self, count: int, each_bytes: int, what: str) -> None:
        """Refuse a count of things that the rest of the file cannot hold."""
        left = self._limit_bytes if self._file_bytes is None else self._file_bytes
        left -= self.position
        if count * each_bytes > left:
            raise PlannerError(
                f"this GGUF file is damaged or cut: its header claims {count:,} {what}, "
                f"and at most {max(left, 0):,} bytes follow"
            )

    def keep(self, size_bytes: int) -> None:
        """Count what is kept in memory, and refuse too much of it."""
        self._kept += size_bytes
        if self._kept > KEPT_LIMIT_BYTES:
            raise PlannerError(
                f"this GGUF file is damaged: its metadata take over {KEPT_LIMIT_BYTES >> 20} MiB"
            )

    def take(self, size_bytes: int) -> Steps[int]:
        """Read bytes that belong together; give where they begin in ``buffer``."""
        if self.at + size_bytes > len(self.buffer):
            self._reach(size_bytes)
            self._drop()
            while (short := size_bytes - len(self.buffer)) > 0:
                yield short
        begin = self.at
        self.at += size_bytes
        return begin

    def skip(self, size_bytes: int) -> Steps[None]:
        """Pass over bytes without gathering them."""
        self._reach(size_bytes)
        while (short := size_bytes - (len(self.buffer) - self.at)) > 0:
            self.at = len(self.buffer)
            self._drop()
            size_bytes = short
            yield short
        self.at += size_bytes

    def number(self, kind: Struct) -> Steps[int]:
        """Read one whole number."""
        begin = yield from self.take(kind.size)
        number: int = kind.unpack_from(self.buffer, begin)[0]
        return number

    def string(self, limit_bytes: int, what: str) -> Steps[str]:
        """Read a text that is kept."""
        size_bytes = yield from self.length(limit_bytes, what)
        return (yield from self.text(size_bytes))

    def length(self, limit_bytes: int, what: str) -> Steps[int]:
        """Read how many bytes a text has."""
        size_bytes = yield from self.number(U64)
        if size_bytes > limit_bytes:
            raise PlannerError(
                f"this GGUF file is damaged: {what} claims a text of {size_bytes:,} bytes, "
                f"{limit_bytes:,} are allowed"
            )
        self.claim(size_bytes, 1, f"bytes of {what}")
        return size_bytes

    def text(self, size_bytes: int) -> Steps[str]:
        """Read the characters of a text whose length was read."""
        self.keep(size_bytes)
        begin = yield from self.take(size_bytes)
        return self.buffer[begin : begin + size_bytes].decode("utf-8", "replace")

    def skip_strings(self, count: int, what: str) -> Steps[None]:
        """Pass over texts, of which a vocabulary has hundreds of thousands."""
        while count := self._pass_whole(count):
            yield from self.skip((yield from self.length(STRING_LIMIT_BYTES, what)))
            count -= 1

    def _pass_whole(self, count: int) -> int:
        """Pass over the texts that lie whole in the buffer; give how many are left."""
        buffer, at, end, unpack = self.buffer, self.at, len(self.buffer), U64.unpack_from
        while count >= SHORT_TEXTS and (found := _SHORT_TEXTS.match(buffer, at)):
            at, count = found.end(), count - SHORT_TEXTS
        while count and at + 8 <= end:
            after = at + 8 + unpack(buffer, at)[0]
            if after > end:
                break
            at, count = after, count - 1
        self.at = at
        return count

    def _reach(self, size_bytes: int) -> None:
        """Refuse to go on past the end of the file, or of what a header may have."""
        end = self.position + size_bytes
        if self._file_bytes is not None and end > self._file_bytes:
            raise cut(self._file_bytes)
        if end > self._limit_bytes:
            raise PlannerError(
                f"its header is longer than {self._limit_bytes >> 20} MiB: no real one is"
            )

    def _drop(self) -> None:
        del self.buffer[: self.at]
        self._gone += self.at
        self.at = 0


def cut(after_bytes: int) -> PlannerError:
    """Say that a file ends too early."""
    return PlannerError(
        f"this GGUF file is cut: it ends inside its header, after {after_bytes:,} bytes"
    )


def read_value(portions: Portions, key: str) -> Steps[Value]:
    """Read the type of a value and the value."""
    kind = yield from portions.number(I32)
    if kind == ARRAY:
        return (yield from _array(portions, key))
    if kind == STRING:
        return (yield from _string(portions, key))
    begin = yield from portions.take(_scalar(kind, key).size)
    value: int | float | bool = SCALARS[kind].unpack_from(portions.buffer, begin)[0]
    return value


def _scalar(kind: int, key: str) -> Struct:
    if kind not in SCALARS:
        raise PlannerError(
            f'this GGUF file is damaged or newer than LabDash: "{key}" has the unknown type {kind}'
        )
    return SCALARS[kind]


def _string(portions: Portions, key: str) -> Steps[Value]:
    size_bytes = yield from portions.length(STRING_LIMIT_BYTES, f'"{key}"')
    if size_bytes <= KEPT_STRING_BYTES:
        return (yield from portions.text(size_bytes))
    yield from portions.skip(size_bytes)
    return Length(size_bytes)


def _array(portions: Portions, key: str) -> Steps[Value]:
    kind = yield from portions.number(I32)
    if kind == ARRAY:
        raise PlannerError(f'this GGUF file is damaged: "{key}" is a list of lists')
    # A text costs at least its length of eight bytes.
    each_bytes = U64.size if kind == STRING else _scalar(kind, key).size
    count = yield from portions.number(U64)
    if count > ARRAY_LIMIT:
        raise PlannerError(
            f'this GGUF file is damaged: "{key}" claims {count:,} values, '
            f"{ARRAY_LIMIT:,} are allowed"
        )
    portions.claim(count, each_bytes, f'values of "{key}"')
    if count <= KEPT_ELEMENTS:
        portions.keep(count * ELEMENT_BYTES)
        return (yield from _kept(portions, key, kind, count))
    if kind == STRING:
        yield from portions.skip_strings(count, f'"{key}"')
    else:
        yield from portions.skip(count * each_bytes)
    return Length(count)


def _kept(portions: Portions, key: str, kind: int, count: int) -> Steps[Value]:
    if kind == STRING:
        texts: list[str] = []
        while len(texts) < count:
            texts += [(yield from portions.string(STRING_LIMIT_BYTES, f'"{key}"'))]
        return tuple(texts)
    elements = Struct(f"<{count}{FORMATS[kind]}")
    begin = yield from portions.take(elements.size)
    return elements.unpack_from(portions.buffer, begin)
