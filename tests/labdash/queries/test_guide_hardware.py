"""Models on usual machines: the verdicts that owners of such machines know."""

import pytest

from labdash.catalog.files import read_lines
from labdash.catalog.own import own_rows, take
from labdash.queries.guide_cells import SIZES, Cell, best_cell, variant_at
from labdash.queries.guide_hardware import macs, phones, row, rows, sizes
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


def test_phone_is_told_from_what_can_be_a_machine_of_a_lab() -> None:
    found = {each.place.key: each.is_phone for each in rows((), 8192)}
    assert [key for key, is_phone in found.items() if is_phone] == ["phone-6", "phone-8"]


def test_name_that_hides_the_chip_gets_a_note() -> None:
    notes = {each.place.key: each.note for each in rows((), 8192) if each.note}
    assert notes == {"m2-32": "a plain M2 ends at 24 GB"}


def test_one_machine_is_told_as_among_all() -> None:
    place = usual_places()[0]
    assert row(place, 8192) == next(each for each in rows((), 8192) if each.place == place)


@pytest.mark.parametrize("ram_gib", [8, 24])
def test_mac_whose_limit_is_best_left_shows_it_and_says_why(ram_gib: int) -> None:
    found = next(each for each in macs() if each.ram_gib == ram_gib)
    assert (found.command, found.raised_bytes) == ("sysctl iogpu.wired_limit_mb", None)
    assert 0 < found.left_bytes <= 8 * GIB


def test_mac_of_which_more_was_seen_says_both_of_what_is_left() -> None:
    for each in macs():
        seen = each.seen_gib
        assert each.left_bytes + each.share_bytes == each.ram_gib * GIB
        assert (each.least_left_bytes is None) == (seen is None)
        assert seen is None or 0 < (each.least_left_bytes or 0) < each.left_bytes


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
