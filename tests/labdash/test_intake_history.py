"""What the intake keeps of samples for history, and when it stores that."""

import time
from contextlib import suppress
from typing import Any

import pytest
from django.db import DataError, OperationalError

from labdash import intake as module
from labdash import live
from labdash.domain.history import LATE_FOR
from labdash.intake import Intake
from labdash.models import GpuSample
from tests.factories import make_node, sample, send
from workers import wire

pytestmark = pytest.mark.django_db


def read(intake: Intake) -> None:
    """Read what is there, without waiting."""
    intake.read_once(block_ms=1)


def send_dated(report: wire.Sample, *, age_s: float) -> None:
    """Put a sample on the stream as if it had come ``age_s`` ago."""
    entry_id = f"{int((time.time() - age_s) * 1000)}-1"
    raw: dict[Any, Any] = {"report": report.model_dump_json()}
    live.store().xadd(wire.reports_key(report.node), raw, id=entry_id)


def test_of_old_samples_the_newest_is_shown_and_history_has_all() -> None:
    make_node("rog")
    for number in range(50):
        send_dated(sample("rog", worker_version=str(number)), age_s=5 * (50 - number))
    read(Intake())
    shown = live.read_states(["rog"])["rog"].sample.worker_version
    assert (shown, GpuSample.objects.count()) == ("49", 50)


def test_what_waited_for_longer_than_history_can_take_is_left_out_of_it() -> None:
    make_node("rog")
    for age_s in (2 * LATE_FOR.total_seconds(), LATE_FOR.total_seconds() - 60, 60):
        send_dated(sample("rog"), age_s=age_s)
    read(Intake())
    assert GpuSample.objects.count() == 2


@pytest.mark.parametrize("age_s", [0, 30])
def test_a_flood_makes_one_sample_a_second(age_s: float) -> None:
    make_node("rog")
    intake = Intake()
    for number in range(150):
        entry_id = f"{int((time.time() - age_s) // 1 * 1000)}-{number + 1}"
        raw: dict[Any, Any] = {"report": sample("rog").model_dump_json()}
        live.store().xadd(wire.reports_key("rog"), raw, id=entry_id)
    read(intake)
    seconds = set(GpuSample.objects.values_list("at", flat=True))
    assert len(seconds) == GpuSample.objects.count() <= 2


def test_while_somebody_watches_samples_are_stored_several_at_once(
    django_assert_num_queries: Any,
) -> None:
    make_node("rog")
    intake = Intake()
    for age_s in (4, 3, 2, 1):
        send_dated(sample("rog"), age_s=age_s)
        read(intake)
    assert GpuSample.objects.count() == 1
    intake._stored_at.clear()
    send_dated(sample("rog"), age_s=0)
    read(intake)
    assert GpuSample.objects.count() == 5
    send(sample("rog"))
    with django_assert_num_queries(1):
        # The nodes' names alone.
        read(intake)


def test_samples_that_pile_up_are_stored_before_their_time() -> None:
    make_node("rog")
    intake = Intake()
    for first in (300, 200, 100):
        for second in range(module.MOST_WAITING + 10):
            send_dated(sample("rog"), age_s=first - second)
        read(intake)
        assert len(intake._waiting["rog"]) == 0
    assert GpuSample.objects.count() == 3 * (module.MOST_WAITING + 10)


@pytest.mark.parametrize(("fault", "kept"), [(OperationalError, 3), (DataError, 1)])
def test_a_fault_that_passes_costs_no_sample_and_another_is_not_met_again(
    fault: type[Exception], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node("rog")
    intake = Intake()
    intake._stored_at["rog"] = time.monotonic()
    send_dated(sample("rog"), age_s=9)
    read(intake)
    intake._stored_at.clear()
    send_dated(sample("rog"), age_s=5)

    def refuse(*_: object, **__: object) -> None:
        raise fault("not now")

    with monkeypatch.context() as patched, suppress(OperationalError):
        patched.setattr(module, "record_sample", refuse)
        read(intake)
    send_dated(sample("rog"), age_s=1)
    read(intake)
    assert GpuSample.objects.count() == kept
