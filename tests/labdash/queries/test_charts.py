"""What was measured of a GPU becomes charts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache

from labdash.models import Gpu, GpuSample
from labdash.queries.charts import GpuCharts, draw, read_charts
from labdash.queries.library import Library
from labdash.queries.measured import MOST_MODELS, Measured
from tests.factories import make_node

LIBRARY = Library(families={"qwen3:8b": 2}, quants={})


def point(memory: float | None = None, held: Any = None, **fields: Any) -> Measured:
    """Return a point of which memory is known."""
    values = {
        "samples": 1,
        "averages": (memory, None, None, None),
        "peaks": (memory, None, None, None),
        "held": held,
        **fields,
    }
    return Measured(**values)


def drawn(*points: Measured | None, total: int | None = 100) -> GpuCharts:
    return draw(Gpu(index=1, name="P40", memory_total_bytes=total), points, LIBRARY)


def test_the_parts_of_a_memory_stand_on_each_other() -> None:
    held = {"reserve": 10, "other": 20, "model:qwen3:8b": 50}
    charts = drawn(point(70, held), point(70, held))
    assert [(layer.label, layer.shade, layer.area) for layer in charts.layers] == [
        ("qwen3:8b", "m3", "M0,104H2V200H0Z"),
        ("other", "other", "M0,66H2V104H0Z"),
        ("driver", "reserve", "M0,46H2V66H0Z"),
    ]


def test_a_model_has_the_colour_that_it_has_everywhere() -> None:
    charts = drawn(point(9, {"model:qwen3:8b": 5, "model:other:1b": 4}))
    assert [layer.shade for layer in charts.layers] == [
        f"m{LIBRARY.colour(name)}" for name in ("qwen3:8b", "other:1b")
    ]


def test_a_part_is_drawn_only_while_it_is_there() -> None:
    charts = drawn(point(50, {"model:a": 50}), point(0, {}), point(50, {"model:b": 50}))
    assert [(layer.label, layer.area) for layer in charts.layers] == [
        ("a", "M0,104H1V200H0Z"),
        ("b", "M2,104H3V200H2Z"),
    ]


def test_a_gap_is_no_memory_that_holds_nothing() -> None:
    charts = drawn(point(0, {}), None, point(0, {}))
    assert charts.memory is not None
    assert charts.memory.gaps == "M1,0H2V200H1Z"
    assert charts.memory.average == "M0,200H1M2,200H3"


def test_what_is_known_in_all_alone_is_told_as_such() -> None:
    charts = drawn(point(25), point(25, {"other": 25}))
    assert [(layer.label, layer.shade) for layer in charts.layers] == [
        ("other", "other"),
        ("not told by model", "untold"),
    ]


def test_what_ollama_tells_is_drawn_where_nothing_is_measured() -> None:
    charts = drawn(point(None, {"model:a": 50, "reserve": 9}))
    assert charts.memory is not None
    assert charts.memory.figures.newest == 50
    assert charts.lines == ()


@pytest.mark.parametrize("points", [(), (None, None), (point(),)])
def test_without_a_measurement_there_is_no_chart(points: tuple[Measured | None, ...]) -> None:
    charts = drawn(*points)
    assert (charts.memory, charts.layers, charts.lines) == (None, (), ())


def test_of_too_many_models_the_least_are_other() -> None:
    points = [point(9, {f"model:{number}": number}) for number in range(1, 30)]
    labels = [layer.label for layer in drawn(*points).layers]
    assert labels == [*map(str, range(29, 29 - MOST_MODELS, -1)), "other"]


def test_a_peak_is_drawn_where_it_stands_out_and_on_what_the_driver_keeps() -> None:
    held = {"reserve": 10, "other": 40}
    peak = (90.0, None, None, None)
    charts = drawn(point(40, held), point(40, held, peaks=peak))
    assert charts.memory is not None
    assert charts.memory.peak == "M1,8H2V104H1Z"
    assert charts.memory.figures.highest == 90


def test_figures_are_weighted_and_end_with_the_last_that_is_known() -> None:
    charts = drawn(point(10, samples=1), point(40, samples=2), None)
    assert charts.memory is not None
    figures = charts.memory.figures
    assert (figures.newest, figures.average, figures.highest) == (40, 30, 40)


@pytest.mark.parametrize(("peak", "top"), [(0, 100), (99, 100), (101, 200), (350.5, 400)])
def test_a_scale_without_a_known_limit_ends_at_the_next_hundred(peak: float, top: float) -> None:
    values = (None, None, None, peak)
    charts = drawn(point(averages=values, peaks=values))
    assert [(line.title, line.top) for line in charts.lines] == [("Power", top)]


@pytest.mark.django_db
def test_charts_are_drawn_once_a_while_and_at_once_when_there_is_something() -> None:
    cache.clear()
    row = Gpu.objects.create(node=make_node(), uuid="A", memory_total_bytes=100)
    now = datetime(2026, 11, 25, 12, 0, 30, tzinfo=UTC)

    def newest(**later: float) -> float | None:
        charts = read_charts(row.node, LIBRARY, "1y", now=now + timedelta(**later))
        memory = charts.gpus[0].memory
        return memory.figures.newest if memory else None

    assert newest() is None
    for second, used in ((0, 50), (5, 70)):
        at = now - timedelta(seconds=90 + second)
        GpuSample.objects.create(gpu=row, at=at, memory_used_bytes=used)
        assert newest() == 50
    assert newest(minutes=1) == 50
    assert newest(hours=1) is None


def test_a_card_of_unknown_size_is_drawn_to_the_most_that_it_held() -> None:
    charts = drawn(point(50, {"other": 50, "reserve": 10}), total=None)
    assert charts.memory is not None
    assert (charts.total_bytes, charts.memory.top) == (None, 60)
