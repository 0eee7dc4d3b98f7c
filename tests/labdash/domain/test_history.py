"""Samples become periods, once and for all, and what is old goes."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from labdash.domain import history
from labdash.domain.history import KEPT_FOR, LATE_FOR, SAMPLES_KEPT_FOR, moment_of, prune, roll_up
from labdash.domain.nodes import remove_node
from labdash.domain.telemetry import GPUS_KEPT_FOR, prune_gpus, record_sample
from labdash.models import Gpu, GpuPeriod, GpuSample, GpuSource, Node, Tier
from labdash.queries.measured import METRICS
from tests.factories import gpu, make_node, sample

# The begin of a period of every tier.
START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
pytestmark = pytest.mark.django_db


def make_gpu(slug: str = "rog") -> Gpu:
    node, _ = Node.objects.get_or_create(slug=slug)
    return Gpu.objects.create(node=node, uuid="A", name="P40")


def measure(row: Gpu, *seconds: float, start: datetime = START, **values: Any) -> None:
    """Store samples so many seconds after ``start``, as reports bring them."""
    moments = [
        history.Moment(
            at=start + timedelta(seconds=second),
            gpus={
                row.uuid: (
                    tuple(values.get(metric) for metric in METRICS),
                    values.get("held"),
                )
            },
        )
        for second in seconds
    ]
    history.store_moments({row.uuid: row}, moments)


def roll(after_s: float = 3600, *, start: datetime = START) -> int:
    """Roll up as of so many seconds after ``start``."""
    return roll_up(now=start + timedelta(seconds=after_s + history.GRACE_S))


def periods(tier: Tier, *names: str) -> list[Any]:
    """Return columns of the periods of a tier, in order of time."""
    rows = GpuPeriod.objects.filter(length_s=tier).order_by("gpu", "at")
    return list(rows.values_list(*names, flat=len(names) == 1))


def everything() -> list[dict[str, Any]]:
    """Return all periods without their keys."""
    rows = GpuPeriod.objects.order_by("gpu", "length_s", "at").values()
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def test_a_minute_holds_averages_and_peaks() -> None:
    row = make_gpu()
    measure(row, 0, memory_used_bytes=4, utilization_percent=0, temperature_celsius=-5)
    measure(row, 30, memory_used_bytes=9, utilization_percent=99, temperature_celsius=40)
    measure(row, 55, memory_used_bytes=5, utilization_percent=0, power_watts=120.5)
    roll()
    got = GpuPeriod.objects.get(length_s=Tier.MINUTE)
    assert (got.at, got.samples) == (START, 3)
    assert (got.memory_used_bytes, got.memory_peak_bytes) == (6, 9)
    assert (got.utilization_percent, got.utilization_peak_percent) == (33, 99)
    assert (got.temperature_celsius, got.temperature_peak_celsius) == (17.5, 40)
    assert (got.power_watts, got.power_peak_watts) == (120.5, 120.5)


def test_what_nobody_knew_is_null_in_every_tier() -> None:
    measure(make_gpu(), 0, 5, utilization_percent=3)
    roll()
    for got in GpuPeriod.objects.all():
        assert (got.utilization_percent, got.memory_used_bytes, got.held) == (3, None, None)
        assert (got.memory_peak_bytes, got.temperature_celsius, got.power_watts) == (None,) * 3


def test_longer_periods_weigh_shorter_ones_by_their_samples() -> None:
    row = make_gpu()
    measure(row, *range(0, 60, 5), power_watts=10)
    measure(row, 60, 65, 70, power_watts=110)
    measure(row, 7140, power_watts=46)
    roll(7200)
    assert periods(Tier.MINUTE, "samples", "power_watts") == [(12, 10), (3, 110), (1, 46)]
    assert periods(Tier.TEN_MINUTES, "samples", "power_watts") == [(15, 30), (1, 46)]
    assert periods(Tier.TWO_HOURS, "samples", "power_watts", "power_peak_watts") == [(16, 31, 110)]


def test_a_time_that_somebody_watched_weighs_no_more() -> None:
    row = make_gpu()
    measure(row, *range(30), utilization_percent=100)
    measure(row, *range(30, 60, 5), utilization_percent=0)
    roll()
    assert periods(Tier.TWO_HOURS, "samples", "utilization_percent") == [(12, 50)]


def test_memory_by_model_is_the_average_of_the_time_in_which_it_was_known() -> None:
    row = make_gpu()
    measure(row, 0, 5, held={"model:a": 8, "other": 2})
    measure(row, 10, held={"other": 2, "reserve": 3})
    measure(row, 15, 20, utilization_percent=1)
    roll()
    for tier in Tier:
        assert periods(tier, "held") == [{"model:a": 5, "other": 2, "reserve": 1}]


def test_what_holds_nothing_is_known_to_hold_nothing() -> None:
    measure(make_gpu(), 0, 5, held={})
    roll()
    assert periods(Tier.TWO_HOURS, "held") == [{}]


def test_a_time_without_samples_has_no_period() -> None:
    row = make_gpu()
    measure(row, 0, 300, 4000, power_watts=1)
    roll(7200)
    at = [(each - START).total_seconds() for each in periods(Tier.MINUTE, "at")]
    assert at == [0, 300, 3960]
    assert len(periods(Tier.TEN_MINUTES, "at")) == 2


def test_a_minute_waits_until_it_is_over_and_longer_periods_show_what_there_is() -> None:
    row = make_gpu()
    measure(row, 0, 60, power_watts=2)
    assert (roll(59), GpuPeriod.objects.count()) == (0, 0)
    roll(60)
    assert [len(periods(tier, "at")) for tier in Tier] == [1, 1, 1]
    roll(120)
    assert periods(Tier.TWO_HOURS, "samples") == [2]


@pytest.mark.parametrize("every_s", [60, 77, 800, 7 * 86400])
def test_it_does_not_matter_when_and_how_often_it_is_done(every_s: int) -> None:
    row = make_gpu()
    # Around the end of a period of every tier.
    begin_s, end_s = 6800, 7700
    measure(row, *range(begin_s, end_s, 35), power_watts=7, held={"model:a": 7})
    measure(row, *range(begin_s + 3, end_s, 50), utilization_percent=50)
    roll(86400)
    once = everything()
    GpuPeriod.objects.all().delete()
    Gpu.objects.update(rolled_up_to=None)
    for after_s in range(begin_s, end_s + 2 * every_s, every_s):
        roll(after_s)
        roll(after_s)
    assert everything() == once


def test_late_samples_are_rolled_up_with_those_around_them() -> None:
    row = make_gpu()
    seconds = range(0, 1800, 5)
    measure(row, *seconds, power_watts=10)
    roll()
    whole = everything()
    GpuSample.objects.all().delete()
    GpuPeriod.objects.all().delete()
    Gpu.objects.update(rolled_up_to=None)
    measure(row, *(second for second in seconds if second % 700 >= 60), power_watts=10)
    roll()
    assert everything() != whole
    measure(row, *(second for second in seconds if second % 700 < 60), power_watts=10)
    assert (roll(), everything() == whole) == (1, True)


def test_a_sample_that_comes_twice_counts_once() -> None:
    row = make_gpu()
    measure(row, 0, 5, power_watts=10)
    measure(row, 5, 10, power_watts=40)
    roll()
    assert (GpuSample.objects.count(), periods(Tier.MINUTE, "power_watts")) == (3, [20])


@pytest.mark.parametrize("jump", [-400 * DAY, -3 * HOUR, 3 * HOUR, 400 * DAY], ids=str)
def test_a_clock_that_jumps_and_comes_back_costs_nothing_of_what_was_there(
    jump: timedelta,
) -> None:
    row = make_gpu()
    measure(row, *range(0, 7200, 60), power_watts=10)
    roll(7200)
    before = everything()
    measure(row, *range(7200, 7500, 5), start=START + jump, power_watts=99)
    roll(7500, start=START + jump)
    prune(now=START + jump + timedelta(seconds=7520))
    measure(row, *range(7500, 7800, 5), power_watts=20)
    roll(7800)
    prune(now=START + timedelta(seconds=7820))
    kept = everything()
    assert all(each in kept for each in before)
    minutes = periods(Tier.MINUTE, "at", "power_watts")
    assert (START + timedelta(seconds=7500), 20) in minutes


def test_a_hub_that_was_off_for_a_week_loses_nothing_that_was_there() -> None:
    row = make_gpu()
    measure(row, *range(0, 1500, 5), power_watts=10)
    roll(1260)
    week = timedelta(days=7)
    measure(row, *range(0, 7300, 5), start=START + week, power_watts=30)
    roll(7300, start=START + week)
    prune(now=START + week + timedelta(seconds=7300))
    assert periods(Tier.TWO_HOURS, "samples", "power_watts") == [(300, 10), (1440, 30), (12, 30)]
    assert len(periods(Tier.TEN_MINUTES, "at")) == 3 + 13
    assert periods(Tier.MINUTE, "at")[0] == START + week


def fill(row: Gpu, now: datetime, ages: Iterable[timedelta]) -> None:
    """Store a sample and a period of each tier of every age."""
    for age in ages:
        GpuSample.objects.create(gpu=row, at=now - age, power_watts=1)
        for tier in Tier:
            GpuPeriod.objects.create(gpu=row, length_s=tier, at=now - age, samples=1)


def test_each_tier_is_kept_for_its_time() -> None:
    row, spare = make_gpu(), timedelta(minutes=1)
    limits = [SAMPLES_KEPT_FOR, *KEPT_FOR.values()]
    Gpu.objects.update(rolled_up_to=START)
    fill(row, START, [timedelta(minutes=90)])
    fill(row, START, [limit + spare for limit in limits])
    fill(row, START, [limit - spare for limit in limits])
    # Of nine each, those that are older than the limit of their own tier.
    gone = [8, 5, 3, 1]
    assert prune(now=START) == sum(gone)
    left = [GpuSample.objects.count(), *(len(periods(tier, "at")) for tier in Tier)]
    assert left == [9 - each for each in gone]
    assert prune(now=START) == 0


def test_samples_are_kept_until_they_are_rolled_up() -> None:
    row = make_gpu()
    fill(row, START, [timedelta(minutes=90)])
    assert (prune(now=START), GpuSample.objects.count()) == (0, 1)
    roll_up(now=START)
    assert (prune(now=START), GpuSample.objects.count()) == (1, 0)


def test_samples_around_the_latest_that_may_come_are_still_there() -> None:
    assert LATE_FOR + timedelta(minutes=5) <= SAMPLES_KEPT_FOR


def test_much_is_deleted_in_small_steps_and_some_of_it_later(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(history, "DELETED_AT_ONCE", 10)
    monkeypatch.setattr(history, "DELETED_A_RUN", 40)
    row = make_gpu()
    Gpu.objects.update(rolled_up_to=START)
    fill(row, START, [timedelta(minutes=90)])
    GpuSample.objects.bulk_create(
        GpuSample(gpu=row, at=START - 3 * HOUR - timedelta(seconds=n)) for n in range(59)
    )
    with django_assert_max_num_queries(12):
        assert prune(now=START) == 40
    assert (prune(now=START), prune(now=START)) == (20, 0)


def test_history_goes_with_its_gpu() -> None:
    row, other = make_gpu(), make_gpu("tower")
    for each in (row, other):
        fill(each, START, [HOUR, DAY])
    history.forget(Gpu.objects.filter(pk=row.pk))
    assert set(GpuSample.objects.values_list("gpu", flat=True)) == {other.pk}
    assert set(GpuPeriod.objects.values_list("gpu", flat=True)) == {other.pk}


def test_a_removed_node_takes_its_history_along() -> None:
    row, other = make_gpu(), make_gpu("tower")
    for each in (row, other):
        fill(each, START, [HOUR, DAY])
    remove_node(node=row.node)
    assert set(GpuSample.objects.values_list("gpu", flat=True)) == {other.pk}
    assert set(GpuPeriod.objects.values_list("gpu", flat=True)) == {other.pk}


def test_a_card_that_is_pruned_takes_its_history_along() -> None:
    row, now = make_gpu(), START
    Gpu.objects.update(source=GpuSource.NVML, last_seen_at=now - 2 * GPUS_KEPT_FOR)
    Node.objects.update(last_seen_at=now)
    fill(row, now, [HOUR, DAY])
    assert prune_gpus(now=now) == 1
    assert (GpuSample.objects.count(), GpuPeriod.objects.count()) == (0, 0)


def test_history_stays_with_a_card_that_moves_to_another_slot() -> None:
    make_node()
    for number, index in enumerate((0, 1)):
        at = START + timedelta(minutes=number)
        report = sample("rog", gpus=(gpu(index, uuid="A"),))
        record_sample(report, arrived_at=at, moments=[moment_of(report, at=at)])
    roll()
    assert len(periods(Tier.MINUTE, "at")) == 2
    assert set(GpuPeriod.objects.values_list("gpu__uuid", flat=True)) == {"A"}


def test_a_lost_gpu_leaves_a_gap() -> None:
    report = sample("rog", gpus=(gpu(0, uuid="A"), lost := gpu(1, uuid="B", state="lost")))
    unread = lost.model_copy(update={"memory_used_bytes": None})
    report = report.model_copy(update={"gpus": (report.gpus[0], unread)})
    assert list(moment_of(report, at=START).gpus) == ["A"]


def test_the_largest_figures_that_a_node_may_report_can_be_rolled_up() -> None:
    make_node()
    most = 2**63 - 1
    report = sample(
        "rog",
        gpus=(
            gpu(
                uuid="A",
                memory_used_bytes=most,
                memory_total_bytes=most,
                memory_reserved_bytes=most,
                utilization_percent=2**15 - 1,
                temperature_celsius=2**15 - 1,
                power_watts=9.2e18,
            ),
        ),
    )
    for number in range(7):
        at = START + timedelta(seconds=number)
        record_sample(report, arrived_at=at, moments=[moment_of(report, at=at)])
    roll()
    assert periods(Tier.TWO_HOURS, "memory_used_bytes", "memory_peak_bytes") == [(most, most)]


def test_as_many_queries_for_an_hour_as_for_a_minute(django_assert_num_queries: Any) -> None:
    row = make_gpu()
    measure(row, *range(0, 60, 5), power_watts=1)
    with django_assert_num_queries(11):
        roll(60)
    measure(row, *range(60, 3600, 5), power_watts=1)
    with django_assert_num_queries(11):
        roll(3600)
    with django_assert_num_queries(1):
        roll(3600)
