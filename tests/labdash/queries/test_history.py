"""How GPUs did, in few points."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache

from labdash.models import Gpu, GpuPeriod, GpuSample, Node, Tier
from labdash.queries.history import (
    SCALES,
    YOUNG,
    Scale,
    Span,
    gpu_history,
    memory_by_node,
    scale_of,
)
from labdash.queries.measured import Measured

NOW = datetime(2026, 11, 25, 12, 30, 10, tzinfo=UTC)
SPANS: list[Span] = ["1h", "24h", "30d", "1y"]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


def make_gpu(slug: str = "rog", index: int = 0) -> Gpu:
    node, _ = Node.objects.get_or_create(slug=slug)
    return Gpu.objects.create(node=node, uuid=f"{slug}-{index}", index=index, name="P40")


def measure(gpu: Gpu, ago_s: float, **values: Any) -> None:
    """Store a sample."""
    GpuSample.objects.create(gpu=gpu, at=NOW - timedelta(seconds=ago_s), **values)


def period(gpu: Gpu, ago_s: float, tier: Tier = Tier.MINUTE, **values: Any) -> None:
    """Store the period of a tier that held the moment ``ago_s`` ago."""
    second = int(NOW.timestamp() - ago_s)
    at = datetime.fromtimestamp(second - second % tier, tz=UTC)
    GpuPeriod.objects.create(gpu=gpu, length_s=tier, at=at, **{"samples": 12, **values})


def points(gpu: Gpu, scale: Scale) -> tuple[Measured | None, ...]:
    return gpu_history([gpu.pk], scale, now=NOW)[gpu.pk]


def test_a_point_of_samples_is_their_average_and_their_peak() -> None:
    gpu = make_gpu()
    measure(gpu, 11, memory_used_bytes=5, temperature_celsius=40, held={"other": 5})
    measure(gpu, 19, memory_used_bytes=9, temperature_celsius=50, held={"model:a": 9})
    assert points(gpu, YOUNG)[-1] == Measured(
        samples=2,
        averages=(7, None, 45, None),
        peaks=(9, None, 50, None),
        held={"other": 2.5, "model:a": 4.5},
    )


def test_a_watched_second_weighs_no_more_than_an_unwatched_one() -> None:
    gpu = make_gpu()
    for ago_s in (11, 12, 13, 14, 15):
        measure(gpu, ago_s, utilization_percent=100)
    measure(gpu, 16, utilization_percent=0)
    point = points(gpu, YOUNG)[-1]
    assert point is not None
    assert (point.averages[1], point.peaks[1], point.samples) == (50, 100, 2)


@pytest.mark.parametrize("scale", [*SCALES.values(), YOUNG], ids=lambda scale: scale.label)
def test_series_begins_where_its_span_does(scale: Scale) -> None:
    gpu = make_gpu()
    first_s = scale.first_bucket(NOW) * scale.bucket_s
    for second, use in ((first_s, 1), (first_s - 1, 2)):
        ago_s = NOW.timestamp() - second
        if scale.tier:
            period(gpu, ago_s, scale.tier, memory_used_bytes=use, memory_peak_bytes=use)
        else:
            measure(gpu, ago_s, memory_used_bytes=use)
    series = points(gpu, scale)
    assert len(series) == scale.buckets
    assert [each and each.averages[0] for each in series] == [1, *[None] * (scale.buckets - 1)]


def test_samples_are_left_out_until_all_of_their_time_are_stored() -> None:
    gpu = make_gpu()
    measure(gpu, 5, memory_used_bytes=1)
    assert set(points(gpu, YOUNG)) == {None}


@pytest.mark.parametrize("span", SPANS)
def test_a_point_of_periods_is_shown_while_it_fills(span: Span) -> None:
    gpu, scale = make_gpu(), SCALES[span]
    assert scale.tier
    period(gpu, 70, scale.tier, memory_used_bytes=3, memory_peak_bytes=4)
    point = next(each for each in reversed(points(gpu, scale)) if each)
    assert (point.averages[0], point.peaks[0]) == (3, 4)


def test_an_hour_has_the_minutes_that_are_not_rolled_up_yet() -> None:
    gpu = make_gpu()
    period(gpu, 130, memory_used_bytes=3, memory_peak_bytes=4)
    for ago_s, use in ((125, 99), (65, 5), (55, 7), (5, 99)):
        measure(gpu, ago_s, memory_used_bytes=use)
    found = [each and each.averages[0] for each in points(gpu, SCALES["1h"])[-3:]]
    assert found == [None, 3, 6]


@pytest.mark.parametrize("span", SPANS)
def test_the_first_samples_of_all_are_shown_in_every_span(span: Span) -> None:
    gpu = make_gpu()
    measure(gpu, 61, memory_used_bytes=5)
    found = [each.averages[0] for each in points(gpu, SCALES[span]) if each]
    assert found == [5]


def test_other_gpus_are_left_out() -> None:
    gpu, other = make_gpu(), make_gpu("oldie")
    measure(other, 30, memory_used_bytes=1)
    assert list(gpu_history([gpu.pk], SCALES["1h"], now=NOW)) == [gpu.pk]


@pytest.mark.parametrize(("ago_s", "scale"), [(500, YOUNG), (700, SCALES["1h"]), (4000, YOUNG)])
def test_an_hour_is_ten_minutes_until_there_is_more(ago_s: float, scale: object) -> None:
    gpu = make_gpu()
    measure(gpu, ago_s, memory_used_bytes=1)
    assert scale_of("1h", [gpu.pk], now=NOW) == scale


@pytest.mark.parametrize("span", SPANS)
def test_the_words_under_a_chart_stand_at_equal_distances(span: Span) -> None:
    scale = SCALES[span]
    assert len(scale.ticks) in {3, 4, 5}
    assert scale.fresh_s <= scale.bucket_s
    assert scale.tier
    assert scale.bucket_s % scale.tier == 0


def test_memory_of_a_node_sums_its_gpus() -> None:
    first, second = make_gpu(index=0), make_gpu(index=1)
    period(first, 75, memory_peak_bytes=3)
    period(second, 75, memory_peak_bytes=4)
    period(make_gpu("oldie"), 75, memory_peak_bytes=None)
    found = memory_by_node(now=NOW)
    assert list(found) == ["rog"]
    assert (len(found["rog"]), found["rog"][-1]) == (60, 7)


def test_memory_of_nodes_is_counted_once_a_minute() -> None:
    gpu, other = make_gpu(), make_gpu(index=1)
    period(gpu, 75, memory_peak_bytes=3)
    assert memory_by_node(now=NOW)["rog"][-1] == 3
    period(other, 75, memory_peak_bytes=5)
    assert memory_by_node(now=NOW)["rog"][-1] == 3
    assert memory_by_node(now=NOW + timedelta(minutes=1))["rog"][-2] == 8
