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


def unlike(name: str) -> set[str]:
    return {rung.quant for rung in read_ladder(name)[1] if rung.is_unlike}


@pytest.mark.parametrize("name", ["llama3:8b", "qwen3:30b", "llama3.3:70b", "llama3.2:1b"])
def test_what_was_measured_holds_of_models_whose_rows_suit_all_types(name: str) -> None:
    assert unlike(name) == set()


@pytest.mark.parametrize("name", ["qwen2.5:0.5b", "gemma3:1b", "smollm2:135m"])
def test_file_of_other_types_than_the_mix_has_is_not_what_was_measured(name: str) -> None:
    _, rungs = read_ladder(name)
    assert {"Q2_K", "Q4_K_M", "Q6_K", "IQ1_S"} <= unlike(name)
    assert not {"F16", "Q8_0"} & unlike(name)
    for rung in (rung for rung in rungs if rung.is_unlike):
        assert rung.measured
        assert (rung.loss, rung.best_use, rung.is_dominated) == (None, "", False)
    # What is not known of them makes no other type look better or worse.
    best = {rung.quant: rung for rung in rungs if rung.loss}
    assert not any(rung.is_dominated for rung in rungs if rung.quant not in best)


def test_weights_that_never_had_sixteen_bits_are_not_what_was_measured() -> None:
    _, rungs = read_ladder("gpt-oss:20b")
    own = next(rung for rung in rungs if rung.quant == "MXFP4_MOE")
    assert not own.is_unlike
    assert own.best_use
    assert all(rung.is_unlike for rung in rungs if rung.measured)
    assert not any(rung.is_dominated for rung in rungs)


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
