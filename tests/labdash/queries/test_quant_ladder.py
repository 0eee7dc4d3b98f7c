"""Quants in order of what they lose, and those between a floor and a wish."""

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES
from labdash.queries.quant_ladder import below, known_quant, ladder, worth


def test_all_that_lies_between_is_offered() -> None:
    assert ladder("Q4_K_M", "Q8_0", arch="qwen3") == ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M")


def test_one_quant_is_itself() -> None:
    assert ladder("IQ4_XS", "IQ4_XS", arch="qwen3") == ("IQ4_XS",)


def test_code_books_are_offered_to_who_names_one() -> None:
    assert "IQ4_XS" not in ladder("Q3_K_M", "Q4_K_M", arch="qwen3")
    assert "IQ4_XS" in ladder("IQ3_M", "Q4_K_M", arch="qwen3")


def test_what_is_at_hand_is_offered_where_it_lies_between() -> None:
    found = ladder("Q3_K_M", "Q5_K_M", arch="qwen3", beside=["Q4_0", "Q8_0"])
    assert found == ("Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_M")


def test_sixteen_bits_are_offered_once() -> None:
    assert "F16" not in ladder("Q8_0", "BF16", arch="qwen3")
    assert ladder("Q8_0", "F32", arch="qwen3") == ("F32", "F16", "Q8_0")


def test_a_model_made_in_four_bits_has_no_others_between() -> None:
    assert ladder("MXFP4_MOE", "F16", arch="gpt-oss") == ("F16", "MXFP4_MOE")


def test_a_floor_above_the_wish_is_refused() -> None:
    with pytest.raises(PlannerError, match="the least quant Q8_0 is better than the wished Q4_K_M"):
        ladder("Q8_0", "Q4_K_M", arch="qwen3")


def test_below_a_floor_are_the_usual_ones() -> None:
    assert below("Q3_K_L", arch="qwen3") == ("Q3_K_M", "Q3_K_S", "Q2_K")
    assert below("Q2_K", arch="qwen3") == ()


def test_every_quant_has_a_place() -> None:
    assert all(worth(name, "qwen3") > 0 for name in FILE_TYPES if name != "F32")


def test_an_unknown_quant_is_none() -> None:
    assert (known_quant("UD-Q4_K_XL"), known_quant(None)) == (None, None)
    assert (known_quant("mxfp4"), known_quant("q4_k_m")) == ("MXFP4_MOE", "Q4_K_M")
