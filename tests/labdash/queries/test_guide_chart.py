"""The drawing of loss against size: readable, and each dot a row of the table."""

from itertools import combinations

import pytest

from labdash.queries import guide_chart as chart
from labdash.queries.guide_quality import FEW_BITS, best_below, read_quality

pytestmark = pytest.mark.django_db


def test_every_measured_type_but_those_of_sixteen_bits_is_a_dot() -> None:
    rows = read_quality()
    assert [each.row for each in chart.points(rows)] == [row for row in rows if row.bits < 16]


def test_names_touch_neither_each_other_nor_a_dot_nor_an_edge() -> None:
    points = chart.points(read_quality())
    names = [each.name.box for each in points if each.name]
    assert len(names) >= 8
    assert not any(chart.overlap(*pair) for pair in combinations(names, 2))
    for each in points:
        others = [other.name.box for other in points if other.name and other is not each]
        assert not any(chart.overlap(each.box, box) for box in others), each.row.quant
    assert all(box[0] >= chart.LEFT and box[2] <= chart.WIDTH for box in names)
    assert all(box[1] >= 0 and box[3] <= chart.HEIGHT - chart.BOTTOM for box in names)


def test_dots_lie_within_the_axes() -> None:
    for each in chart.points(read_quality()):
        assert chart.LEFT < each.x < chart.WIDTH
        assert 0 < each.y < chart.HEIGHT - chart.BOTTOM


def test_best_of_few_bits_loses_least_of_them() -> None:
    best = best_below(FEW_BITS)
    assert best.bits < FEW_BITS
    fewer = [row for row in read_quality() if row.bits < FEW_BITS]
    assert best.measured.kld == min(row.measured.kld for row in fewer)
