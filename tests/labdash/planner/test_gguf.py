"""Headers of GGUF files: whole, cut, damaged, split, and of other things."""

import struct
from collections.abc import Callable

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Length
from labdash.planner.gguf import HeaderReader, check_data, read_header, read_header_from
from labdash.planner.gguf_split import merge, model_of
from tests import gguf_files as made


def test_metadata_and_tensors_are_read() -> None:
    found = read_header(made.file())
    assert found.version == 3
    assert found.metadata["general.architecture"] == "llama"
    assert [each.name for each in found.tensors] == [name for name, _, _ in made.TENSORS]
    assert found.tensors[3].type == "q4_K"
    assert found.tensors[3].bytes == 256 * 256 // 256 * 144
    assert found.file_bytes <= len(made.file())


def test_version_two_is_read_alike() -> None:
    assert read_header(made.header(version=2)).tensors == read_header(made.header()).tensors


def test_long_arrays_are_counted_and_not_kept() -> None:
    tokens = [f"token {number}" for number in range(5000)]
    found = read_header(made.header({**made.TINY, "tokenizer.ggml.tokens": tokens}))
    assert found.metadata["tokenizer.ggml.tokens"] == Length(5000)


def test_reader_asks_for_more_until_the_header_is_whole() -> None:
    content = made.header()
    reader = HeaderReader()
    at = 0
    while reader.needs:
        reader.feed(content[at : at + 7])
        at += 7
    assert reader.header == read_header(content)
    assert at < len(content) + 7


def test_ranges_are_read_only_as_far_as_the_header_goes() -> None:
    content = made.file()
    asked: list[int] = []

    def read(at: int, size: int) -> bytes:
        asked.append(at + size)
        return content[at : at + size]

    read_header_from(read, portion_bytes=256)
    assert max(asked) <= len(made.header()) + 256


def test_header_alone_is_fine() -> None:
    found = read_header(made.header())
    assert check_data(found, len(made.header()), installed=False) == ()


def test_data_that_stop_early_are_told() -> None:
    content = made.file()
    found = read_header(content)
    (warning,) = check_data(found, len(content) - 5000, installed=False)
    assert warning == f"truncated: {len(content) - 5000} of {len(content)} bytes"


def test_installed_file_whose_data_stop_early_is_refused() -> None:
    found = read_header(made.file())
    with pytest.raises(PlannerError, match="truncated"):
        check_data(found, len(made.header()), installed=True)


@pytest.mark.parametrize("length", [5, 23, 24, 60, 200, 500])
def test_file_cut_inside_its_header_gets_one_line(length: int) -> None:
    with pytest.raises(PlannerError) as refused:
        read_header(made.header()[:length])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG"),
        (b"PK\x03\x04" + bytes(64), "ZIP|zip"),
        (b"<!DOCTYPE html><html>", "HTML|web page"),
        (b"", "empty"),
        (b"just some words", "text"),
    ],
)
def test_what_is_no_gguf_is_called_by_its_name(content: bytes, text: str) -> None:
    with pytest.raises(PlannerError, match=text):
        read_header(content)


def counts(tensors: int, pairs: int, version: int = 3) -> bytes:
    return made.MAGIC + struct.pack("<Iqq", version, tensors, pairs) + bytes(100)


def with_pair(raw: bytes) -> bytes:
    return made.MAGIC + struct.pack("<Iqq", 3, 0, 1) + raw + bytes(64)


DAMAGED: dict[str, bytes] = {
    "version 1": counts(0, 0, version=1),
    "big endian": made.MAGIC + struct.pack(">Iqq", 3, 0, 0) + bytes(64),
    "more tensors than any model": counts(10**9, 0),
    "negative tensors": counts(-1, 0),
    "more metadata than any model": counts(0, 10**9),
    "endless key": with_pair(struct.pack("<Q", 2**60)),
    "unknown value type": with_pair(made.string("a") + struct.pack("<i", 77)),
    "endless array": with_pair(made.string("a") + struct.pack("<iiQ", 9, 8, 2**50)),
    "array of arrays": with_pair(made.string("a") + struct.pack("<iiQ", 9, 9, 2)),
    "same key twice": made.MAGIC
    + struct.pack("<Iqq", 3, 0, 2)
    + 2 * (made.string("a") + made.value(1)),
    "same tensor twice": made.header(tensors=(made.TENSORS[1], made.TENSORS[1])),
    "alignment of 33": made.header({**made.TINY, "general.alignment": 33}),
    "row of no whole blocks": made.header(tensors=(("a", (100, 2), made.Q4_K),)),
    "negative dimension": made.header(tensors=(("a", (-256,), made.F32),)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_header_gets_one_line(content: bytes) -> None:
    with pytest.raises(PlannerError) as refused:
        read_header(content)
    assert "\n" not in str(refused.value)


def shard(number: int, count: int, tensors: tuple[made.Tensor, ...]) -> bytes:
    facts = {"split.no": number, "split.count": count, "split.tensors.count": len(made.TENSORS)}
    own = made.TINY if number == 0 else {}
    return made.header({**own, **facts}, tensors)


def test_parts_of_a_split_model_are_put_together_in_any_order() -> None:
    headers = [
        read_header(shard(1, 2, made.TENSORS[4:])),
        read_header(shard(0, 2, made.TENSORS[:4])),
    ]
    model = model_of(merge(headers), name="tiny")
    assert [each.name for each in model.tensors] == [name for name, _, _ in made.TENSORS]
    assert model.shape.embd == 256


def test_one_part_of_a_split_model_says_what_is_missing() -> None:
    with pytest.raises(PlannerError, match="part 1 of 2"):
        model_of(read_header(shard(0, 2, made.TENSORS[:4])), name="tiny")


@pytest.mark.parametrize(
    "parts", [lambda: [shard(0, 3, made.TENSORS[:4]), shard(1, 3, made.TENSORS[4:])]]
)
def test_missing_parts_are_refused(parts: Callable[[], list[bytes]]) -> None:
    with pytest.raises(PlannerError):
        merge([read_header(content) for content in parts()])


def test_model_knows_its_quantization() -> None:
    assert model_of(read_header(made.header()), name="tiny").quant == "Q4_K_M"
