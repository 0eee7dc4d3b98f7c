"""Models on usual machines: the verdicts that owners of such machines know."""

import pytest

from labdash.catalog.files import read_lines
from labdash.catalog.own import own_rows, take
from labdash.planner.errors import PlannerError
from labdash.queries.guide_cells import SIZES, Cell, best_cell, variant_at
from labdash.queries.guide_hardware import curve, mixtures, one_and_two_cards, phones, rows, sizes
from labdash.queries.guide_places import usual_places

GIB = 2**30


def cell(key: str, model: str, context: int = 8192) -> Cell:
    place = next(each for each in usual_places() if each.key == key)
    return best_cell(model, place, context)


def test_eight_gigabytes_hold_an_8b_model_and_no_14b_one() -> None:
    assert cell("rtx-4060", "qwen3:8b").verdict == "whole"
    larger = cell("rtx-4060", "qwen3:14b")
    assert (larger.verdict, larger.variant.quant) == ("part", "Q4_K_M")
    assert 0 < larger.layers < larger.all_layers


def test_70b_needs_two_cards_of_24_gigabytes() -> None:
    one, two = cell("rtx-3090", "llama3.3:70b"), cell("2-rtx-3090", "llama3.3:70b")
    assert (one.verdict, two.verdict) == ("part", "whole")
    assert all(0 < size < 24 * GIB for size in two.by_card)
    assert sum(two.layers_by_card) == two.all_layers


def test_longer_context_never_gets_a_better_quant() -> None:
    losses = [cell("rtx-3060", "qwen3:14b", ctx).variant.loss or 0 for ctx in (4096, 8192, 16_384)]
    assert losses == sorted(losses)


def test_context_beyond_what_a_model_was_trained_with_is_not_tried() -> None:
    assert cell("rtx-5090", "qwen3:8b", 131_072).context == 40_960


def test_advice_is_the_largest_model_that_runs_well() -> None:
    found = {row.place.key: row.advice for row in rows((), 8192)}
    advised = found["rtx-4060"]
    assert advised is not None
    assert (advised.model, advised.verdict) == ("qwen3:8b", "whole")
    assert not any(key.startswith("phone") for key in found)


def test_curve_gives_smaller_files_longer_contexts() -> None:
    place = next(each for each in usual_places() if each.key == "rtx-3060")
    found = curve(place, "qwen3:14b")
    longest = [step.most_context for step in found.steps]
    assert longest == sorted(longest)
    assert longest[-1] > longest[1] > 0
    with pytest.raises(PlannerError):
        curve(place, "no-such-model")


def test_mixture_takes_as_much_and_answers_faster() -> None:
    rows = mixtures(8192)
    assert rows
    for row in rows:
        assert row.mixture.used_bytes == pytest.approx(row.dense.used_bytes, rel=0.2)
        assert row.mixture.speed is not None
        assert row.dense.speed is not None
        assert row.mixture.speed.low > 2 * row.dense.speed.low


def test_second_card_answers_no_faster() -> None:
    one, two = one_and_two_cards(8192)[0]
    assert one.speed is not None
    assert two.speed is not None
    assert two.speed.high <= one.speed.high


def test_phones_hold_small_models_alone() -> None:
    fits = [[each.verdict for each in row.cells] for row in phones()]
    assert (fits[0], fits[-1]) == (["whole", "whole"], ["no", "no"])


def test_quant_below_the_ladder_is_still_told_when_asked() -> None:
    assert variant_at("qwen3:8b", "Q2_K").quant == "Q2_K"


def test_columns_follow_an_entry_of_the_labs_own() -> None:
    before, kept = sizes(), own_rows()
    row = next(each for each in read_lines("models.jsonl") if each.get("ollama") == SIZES[0])
    take((*kept, {**row, "params_total": 5_000_000_000}))
    try:
        assert before[0].total == pytest.approx(1.24, abs=0.01)
        assert sizes()[0].total == pytest.approx(5)
    finally:
        take(kept)
    assert sizes() == before
