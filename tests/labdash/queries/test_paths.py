"""Values as paths of SVG: 0 lies at 200, the top at 8."""

import pytest

from labdash.queries import paths


def test_a_line_goes_in_steps_and_only_where_it_changes() -> None:
    assert paths.line([0, 0, 5, 10], 10) == "M0,200H2V104H3V8H4"


def test_a_line_stops_where_nothing_is_known() -> None:
    assert paths.line([None, 10, None, None, 0, None], 10) == "M1,8H2M4,200H5"


def test_a_single_value_is_as_wide_as_any() -> None:
    assert paths.line([5], 10) == "M0,104H1"


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_draws_nothing(values: list[float | None]) -> None:
    assert paths.line(values, 10) == paths.area(values, values, 10) == ""


@pytest.mark.parametrize(("value", "height"), [(-5, 200), (25, 8), (1e30, 8)])
def test_a_value_beyond_the_edge_is_drawn_at_it(value: float, height: int) -> None:
    assert paths.line([value], 10) == f"M0,{height}H1"


def test_without_a_top_all_is_at_the_bottom() -> None:
    assert paths.line([5], 0) == "M0,200H1"


def test_an_area_goes_along_its_upper_edge_and_back_along_the_lower() -> None:
    assert paths.area([0, 0, 5], [5, 10, 10], 10) == "M0,104H1V8H3V104H2V200H0Z"


def test_an_area_is_left_out_where_either_edge_is_unknown() -> None:
    assert paths.area([0, None, 0], [5, 5, None], 10) == "M0,104H1V200H0Z"


def test_gaps_are_all_that_is_not_known() -> None:
    assert paths.gaps([False, True, True, False, False]) == "M0,0H1V200H0ZM3,0H5V200H3Z"
    assert paths.gaps([True]) == ""
