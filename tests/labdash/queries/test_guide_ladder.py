"""The ladder of quants: names that are there, and numbers that are the file's own."""

import pytest

from labdash.queries.guide_ladder import read_ladder
from labdash.queries.guide_quality import read_quality
from labdash.queries.tag_names import is_on_hub

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["qwen2.5:14b", "llama3:8b", "qwen3:8b", "gpt-oss:20b"])
def test_what_nobody_has_seen_published_is_called_a_guess(name: str) -> None:
    _, rungs = read_ladder(name)
    pulled = [rung for rung in rungs if rung.is_pulled]
    assert [rung.quant for rung in pulled if rung.guessed and not is_on_hub(rung.pull)] == []
    assert any(rung.guessed for rung in pulled)
    assert not any(rung.guessed for rung in rungs if not rung.is_pulled)


@pytest.mark.parametrize("quant", ["F16", "BF16"])
def test_of_two_types_of_sixteen_bits_the_library_has_one(quant: str) -> None:
    _, rungs = read_ladder("qwen3:8b")
    rung = next(rung for rung in rungs if rung.quant == quant)
    assert (rung.pull, rung.guessed) == ("qwen3:8b-fp16", False)


def test_measured_types_whose_files_nobody_has_seen_are_called_guesses() -> None:
    rows = read_quality()
    guessed = {row.pull for row in rows if row.guessed}
    assert guessed
    assert all(is_on_hub(pull) for pull in guessed)
