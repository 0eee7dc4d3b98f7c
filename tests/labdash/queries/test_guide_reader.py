"""The reader's machine: what fits there, and what is not told."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from labdash.queries.guide_places import find_place, usual_places
from labdash.queries.guide_reader import Reader, fits_here, read_reader

QUANTS = ("F16", "Q6_K", "Q5_K_M", "Q4_K_M")


def at(key: str) -> Reader:
    place = find_place(key, ())
    assert place is not None
    return Reader(place=place, own=())


def test_files_that_lie_whole_on_a_card_of_8_gb_are_told() -> None:
    found = fits_here(at("rtx-4060"), "qwen3:8b", QUANTS, 8192)
    assert found == {"F16": False, "Q6_K": False, "Q5_K_M": True, "Q4_K_M": True}


def test_more_context_leaves_less_room() -> None:
    assert not fits_here(at("rtx-4060"), "qwen3:8b", ["Q5_K_M"], 32768)["Q5_K_M"]


def test_quant_that_cannot_be_made_of_a_model_is_left_out() -> None:
    assert "MXFP4_NONE" not in fits_here(at("rtx-4060"), "qwen3:8b", ["MXFP4_NONE", "Q4_K_M"], 8192)


def test_nothing_is_told_where_the_memory_is_not_known() -> None:
    place = usual_places()[0]
    dark = replace(place, cards=(replace(place.cards[0], room_bytes=None),))
    assert fits_here(Reader(place=dark, own=()), "qwen3:8b", QUANTS, 8192) == {}
    bare = replace(place, cards=(), ram_bytes=None)
    assert fits_here(Reader(place=bare, own=()), "qwen3:8b", QUANTS, 8192) == {}


@pytest.mark.django_db
def test_lab_without_machines_looks_for_a_usual_one() -> None:
    assert read_reader("no such", now=datetime.now(UTC)).place.key == "rtx-4060"
