"""How values are written."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from labdash.queries.bars import Segment
from labdash.templatetags import labdash as tags

GIB = 2**30
MIB = 2**20


def test_sizes_and_speeds_are_those_of_sentences() -> None:
    assert (tags.size(18.85 * GIB), tags.size(None)) == ("18.9 GiB", "")
    assert (tags.speed(112.3 * MIB), tags.speed(None)) == ("112 MiB/s", "")


def test_gib_stands_without_its_unit_and_the_exact_number_in_titles() -> None:
    assert (tags.gib(19.84 * GIB), tags.gib(None)) == ("19.8", "")
    assert (tags.exactly(1234567), tags.exactly(None)) == ("1,234,567 bytes", "")


@pytest.mark.parametrize(
    ("seconds", "text", "coarse"),
    [
        (None, "", ""),
        (18, "18 s", "less than a minute"),
        (119, "119 s", "1 min"),
        (240, "4 min", "4 min"),
        (7800, "2 h 10 min", "2 h"),
        (90000, "1 day", "1 day"),
        (200000, "2 days", "2 days"),
    ],
)
def test_spans_of_time(seconds: float | None, text: str, coarse: str) -> None:
    assert (tags.duration(seconds), tags.coarsely(seconds)) == (text, coarse)


def test_what_passed_since_a_moment_ahead_of_the_clock_is_nothing() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert tags.passed(now + timedelta(seconds=3), now) == "less than a minute"
    assert tags.passed(None, now) == ""


@pytest.mark.parametrize(("age_s", "text"), [(None, ""), (1.2, ""), (4.4, "4 s")])
def test_fresh_values_tell_no_age(age_s: float | None, text: str) -> None:
    assert tags.age(age_s) == text


@pytest.mark.parametrize(
    ("tokens", "text"), [(None, ""), (512, "512"), (8192, "8k"), (40960, "40k"), (10000, "10,000")]
)
def test_context_length(tokens: int | None, text: str) -> None:
    assert tags.context_length(tokens) == text


def test_counts_have_their_noun() -> None:
    assert (tags.count(1, "GPU,GPUs"), tags.count(0, "GPU,GPUs")) == ("1 GPU", "0 GPUs")


def test_shares() -> None:
    assert (tags.percent(0.404), tags.percent(None)) == ("40 %", "")
    assert (tags.as_percent(0.404), tags.as_percent(None)) == ("40", "0")
    assert (tags.as_permille(0.404), tags.as_permille(None)) == ("404", "0")


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (GIB, "memory_used_bytes", "1.0 GiB"),
        (71.6, "temperature_celsius", "72 °C"),
        (286.2, "power_watts", "286 W"),
        (94.0, "utilization_percent", "94 %"),
        (None, "power_watts", ""),
    ],
)
def test_measures_have_the_unit_of_their_metric(
    value: float | None, metric: str, text: str
) -> None:
    assert tags.measure(value, metric) == text


def test_names_of_gpus_leave_out_the_maker() -> None:
    assert tags.short_gpu("NVIDIA GeForce RTX 3090") == "RTX 3090"
    assert tags.short_gpu("NVIDIA RTX A4000") == "RTX A4000"
    assert tags.short_gpu(None) == ""


def test_names_become_ids() -> None:
    assert tags.key("GPU-1:a/b") == "GPU-1-a-b"


SEGMENTS = (
    Segment(kind="model", label="qwen3:8b", size_bytes=500, colour=3),
    Segment(kind="other", label="Xorg", size_bytes=100),
    Segment(kind="reserve", label="driver", size_bytes=50),
    Segment(kind="free", label="free", size_bytes=350),
)


def test_bar_draws_segments_side_by_side_in_their_colours() -> None:
    assert tags.bar(SEGMENTS, 1000) == (
        '<rect class="s-m3" x="0" width="498" height="16"/>'
        '<rect class="s-other" x="500" width="98" height="16"/>'
        '<rect class="s-reserve" x="600" width="48" height="16"/>'
    )


@pytest.mark.parametrize("total", [None, 0])
def test_bar_of_unknown_size_is_empty(total: int | None) -> None:
    assert tags.bar(SEGMENTS, total) == ""


def test_bar_that_holds_too_much_ends_at_its_edge() -> None:
    model = Segment(kind="model", label="a", size_bytes=1500, colour=1)
    for parts in [(model,), (model, model, model)]:
        assert tags.bar(parts, 1000) == '<rect class="s-m1" x="0" width="998" height="16"/>'


def test_keys_name_what_somebody_put_there() -> None:
    assert [segment.label for segment in tags.named(SEGMENTS)] == ["qwen3:8b", "Xorg"]


def test_line_is_interrupted_where_nothing_is_known() -> None:
    assert tags.trace((0.0, 50.0, None, 100.0), 100.0) == "M0,100L80,52M240,4L240,4"
    assert tags.area((0.0, 50.0, None), 100.0) == "M0,100L0,100L120,52L120,100Z"


def test_line_of_nothing_is_empty() -> None:
    assert tags.trace((None, None), 100.0) == ""
    assert tags.trace((), 0.0) == ""


def test_ends_of_a_series() -> None:
    values = (None, 3.0, 9.0, 5.0, None)
    assert (tags.lowest(values), tags.highest(values), tags.newest(values)) == (3.0, 9.0, 5.0)
    assert (tags.lowest((None,)), tags.highest(()), tags.newest(())) == (None, None, None)


def test_swatch_of_other_programs_is_grey() -> None:
    assert 's-m2"' in tags.swatch(2)
    assert 's-other"' in tags.swatch(None)


FIGURES = (
    tags.gib,
    tags.size,
    tags.exactly,
    tags.speed,
    tags.duration,
    tags.age,
    tags.coarsely,
    tags.context_length,
    tags.percent,
)


@pytest.mark.parametrize("write", FIGURES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("value", [inf, -inf, nan, 10**400, -(10**400), "", "x", None, ()])
def test_what_is_no_figure_is_written_as_unknown(
    write: Callable[[object], str], value: object
) -> None:
    assert write(value) == ""
    assert [tags.as_percent(value), tags.as_permille(value)] == ["0", "0"]
    assert {tags.measure(value, metric) for metric in (*tags.UNITS, "memory_used_bytes")} == {""}


@pytest.mark.parametrize("write", FIGURES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("value", [-1, 0, 0.5, 2**63, 1e300, -1e300])
def test_any_figure_can_be_written(write: Callable[[object], str], value: float) -> None:
    assert isinstance(write(value), str)
