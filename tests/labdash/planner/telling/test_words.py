import pytest

from labdash.planner.ollama import GIB, MIB
from labdash.planner.telling import words


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 MiB"), (30 * MIB, "30 MiB"), (2.14 * GIB, "2.1 GiB"), (128 * GIB, "128.0 GiB")],
)
def test_sizes(size: float, text: str) -> None:
    assert words.gib(size) == text


@pytest.mark.parametrize(
    ("ctx", "text"), [(512, "512"), (16384, "16k"), (12288, "12k"), (10_000, "10,000")]
)
def test_contexts(ctx: int, text: str) -> None:
    assert words.tokens(ctx) == text


@pytest.mark.parametrize(
    ("speed", "text"), [(4.26, "4.3 tokens/s"), (9.96, "10 tokens/s"), (34.4, "34 tokens/s")]
)
def test_speeds(speed: float, text: str) -> None:
    assert words.rate(speed) == text


@pytest.mark.parametrize(("number", "text"), [(1, "first"), (3, "third"), (10, "10th")])
def test_which_one(number: int, text: str) -> None:
    assert words.ordinal(number) == text


def test_lists() -> None:
    assert words.all_of([]) == ""
    assert words.all_of(["a"]) == "a"
    assert words.all_of(["a", "b", "c"]) == "a, b and c"
    assert words.layers(1) == "1 layer"
    assert words.layers(2) == "2 layers"


def test_devices() -> None:
    assert words.device_name("rog/0") == "rog/0"
    assert words.device_name("rog/cpu") == "the CPU of rog"


def test_a_name_is_one_line() -> None:
    assert words.one_line("a\nb\x1b[0m\u200b") == "a b [0m "
    assert len(words.one_line("x" * 999)) == 200


def test_a_clause_begins_with_a_small_letter_unless_a_name_begins_it() -> None:
    assert words.clause("A server runs it once.") == "a server runs it once."
    assert words.clause("Ollama takes it.") == "Ollama takes it."
    assert words.clause("") == ""
