"""A model on a machine: what is told of it, and what nobody could."""

import pytest

from labdash.queries.guide_cells import best_cell, cell_at, good_cell
from labdash.queries.guide_places import find_place, usual_places


@pytest.mark.parametrize("name", ["nomic-embed-text", "bge-m3", "all-minilm"])
def test_model_that_makes_no_text_has_no_speed_of_making_it(name: str) -> None:
    found = cell_at(name, "F16", usual_places()[0], 8192)
    assert (found.verdict, found.speed) == ("whole", None)


def test_machine_is_good_for_a_smaller_file_where_the_best_that_fits_is_slow() -> None:
    old = find_place("2-p40", ())
    assert old is not None
    best, good = best_cell("qwen3:32b", old, 8192), good_cell(old, 8192)
    assert (best.variant.quant, best.verdict, best.is_slow) == ("Q8_0", "whole", True)
    assert good is not None
    assert (good.model, good.variant.quant, good.is_slow) == ("qwen3:32b", "Q5_K_M", False)


def test_what_the_engine_keeps_free_is_no_room_for_a_model() -> None:
    card = find_place("rtx-4060", ())
    assert card is not None
    assert [cell_at("qwen3:8b", quant, card, 8192).verdict for quant in ("Q6_K", "Q5_K_M")] == [
        "part",
        "whole",
    ]
