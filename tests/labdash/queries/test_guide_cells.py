"""A model on a machine: what is told of it, and what nobody could."""

import pytest

from labdash.queries.guide_cells import cell_at
from labdash.queries.guide_places import usual_places


@pytest.mark.parametrize("name", ["nomic-embed-text", "bge-m3", "all-minilm"])
def test_model_that_makes_no_text_has_no_speed_of_making_it(name: str) -> None:
    found = cell_at(name, "F16", usual_places()[0], 8192)
    assert (found.verdict, found.speed) == ("whole", None)
