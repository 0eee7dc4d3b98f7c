"""Which llama.cpp an Ollama release runs."""

import pytest

from labdash.catalog.engines import OWN_ENGINE_BUILD, newest_engine, parse_engine
from labdash.planner.errors import PlannerError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("b10488", 10488),
        ("11434", 11434),
        ("ollama:0.30.0", 9452),
        ("ollama:0.30.7", 9509),
        ("ollama:0.32.12", 10380),
        ("ollama:0.32.15", 10488),
        ("ollama:0.33.0-rc2", 10488),
        # Between two known releases the earlier one's rules hold.
        ("ollama:0.30.99", 9781),
        ("ollama:0.31.7", 9888),
    ],
)
def test_a_known_engine_has_its_build(text: str, number: int) -> None:
    build = parse_engine(text)
    assert (build.number, build.warning) == (number, None)


@pytest.mark.parametrize(
    ("text", "number", "warning"),
    [
        ("b99999", 99999, "llama.cpp b99999 is newer than what is known"),
        ("ollama:0.34.1", 10488, "Ollama 0.34.1 is newer than what is known"),
        ("ollama:0.0.0", 10488, "an Ollama built from source does not tell its version"),
        ("ollama:0.24.0", OWN_ENGINE_BUILD, "Ollama 0.24.0 runs an engine of its own"),
    ],
)
def test_an_engine_beyond_what_is_known_comes_with_a_warning(
    text: str, number: int, warning: str
) -> None:
    build = parse_engine(text)
    assert build.number == number
    assert str(build.warning).partition(":")[0] == warning


def test_the_default_is_the_newest_release() -> None:
    assert newest_engine().number == 10488


@pytest.mark.parametrize(
    "text", ["", "b", "latest", "ollama:", "ollama:0.32", "b-1", "b1e9", "b" * 999]
)
def test_no_engine_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PlannerError) as refusal:
        parse_engine(text)
    assert len(str(refusal.value)) < 100
