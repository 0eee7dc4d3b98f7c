"""A model on a machine: what is told of it, and what nobody could."""

import pytest

from labdash.queries.guide_cells import best_cell, cell_at, good_cell
from labdash.queries.guide_places import find_place, usual_places


@pytest.mark.parametrize("name", ["nomic-embed-text", "bge-m3", "all-minilm"])
def test_model_that_makes_no_text_has_no_speed_of_making_it(name: str) -> None:
    found = cell_at(name, "F16", usual_places()[0], 8192)
    assert (found.verdict, found.speed) == ("whole", None)


def test_machine_is_good_for_a_smaller_file_where_the_best_that_fits_is_slow() -> None:
    mac = find_place("chip-apple-m1-8-gb", ())
    assert mac is not None
    best, good = best_cell("qwen3:4b", mac, 8192), good_cell(mac, 8192)
    assert (best.variant.quant, best.verdict, best.is_slow) == ("Q8_0", "whole", True)
    assert good is not None
    assert (good.model, good.variant.quant, good.is_slow) == ("qwen3:4b", "Q6_K", False)
