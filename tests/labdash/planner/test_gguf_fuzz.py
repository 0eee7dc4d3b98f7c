"""Damaged headers by the thousand: each is read or refused with one line, and in bounds."""

import gzip
import random
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.gguf import read_header
from labdash.planner.gguf_split import model_of
from tests import gguf_files as made
from tests.oracle import FIXTURES

# Values that counts, lengths and types trip over.
NASTY = (0, 1, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**31, 2**63 - 1, 2**64 - 1, 2**40, 65_536)
FEW, MANY = 3000, 1_000_000
MOST_BYTES = 32 * 2**20
SLOWEST_S = 1.0
LONGEST_TEXT = 410


def seeds() -> list[bytes]:
    real = (FIXTURES / "headers" / "llama-3.2-1b.Q4_K_M.gguf.gz").read_bytes()
    parts = {"split.no": 0, "split.count": 2, "split.tensors.count": 4}
    return [made.header(), made.header({**made.TINY, **parts}), made.file(), gzip.decompress(real)]


def damaged(count: int) -> Iterator[bytes]:
    """Flip bits, put nasty numbers in, cut, repeat and drop pieces."""
    chance = random.Random(count)  # noqa: S311 - the same damage each time
    originals = seeds()
    for _ in range(count):
        content = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            match chance.randrange(5):
                case 0:
                    content[at] ^= 1 << chance.randrange(8)
                case 1:
                    size = chance.choice((4, 8))
                    number = chance.choice(NASTY) & ((1 << 8 * size) - 1)
                    content[at : at + size] = number.to_bytes(size, "little")
                case 2:
                    del content[max(at, 1) :]
                case 3:
                    content[at:at] = content[at : at + chance.randint(1, 64)]
                case _:
                    del content[at : at + chance.randint(1, 64)]
            if not content:
                break
        yield bytes(content)


def survive(content: bytes) -> None:
    """Read a header and the shape that it tells; only a refusal in one line may come of it."""
    text = ""
    try:
        assert model_of(read_header(content), name="damaged").shape.layers
    except PlannerError as refused:
        text = str(refused)
    assert text.isprintable()
    assert len(text) <= LONGEST_TEXT


def test_thousands_of_damaged_headers_are_read_or_refused() -> None:
    for content in damaged(FEW):
        survive(content)


def test_damaged_headers_take_no_more_memory_than_they_may() -> None:
    contents = list(damaged(300))
    tracemalloc.start()
    try:
        for content in contents:
            survive(content)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.long
def test_a_million_damaged_headers_are_read_or_refused_at_once() -> None:
    for content in damaged(MANY):
        began = time.perf_counter()
        survive(content)
        assert time.perf_counter() - began < SLOWEST_S
