"""Reports about pulls become states of jobs."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.progress import record_progress
from labdash.domain.reconciliation import carry_on
from labdash.models import PullJob, PullState
from tests.factories import make_instance, make_job, orders, progress, running_job, seen
from workers import wire

pytestmark = pytest.mark.django_db


def record(job: PullJob, phase: str = "downloading", **fields: object) -> PullJob:
    """Record a report that arrives now and return the job as it is then."""
    record_progress(progress(job, phase, **fields), arrived_at=timezone.now())
    return PullJob.objects.get(pk=job.pk)


def test_figures_of_a_download_are_taken_over() -> None:
    job = record(
        running_job(state=PullState.QUEUED),
        done_bytes=5,
        total_bytes=10,
        bytes_per_s=2.5,
        remaining_s=2.0,
    )
    assert (job.state, job.done_bytes, job.total_bytes, job.bytes_per_s, job.remaining_s) == (
        PullState.DOWNLOADING,
        5,
        10,
        2.5,
        2.0,
    )
    assert job.started_at is not None


def test_what_is_done_never_falls() -> None:
    job = running_job(done_bytes=500, total_bytes=1000)
    assert record(job, done_bytes=200, total_bytes=1200).done_bytes == 500
    assert record(job, done_bytes=None).done_bytes == 500
    assert record(job).total_bytes == 1200


def test_a_job_that_waits_on_its_node_stays_queued_with_a_heartbeat() -> None:
    job = record(running_job(state=PullState.QUEUED, heartbeat_at=None), "waiting")
    assert (job.state, job.heartbeat_at is not None, job.started_at) == (
        PullState.QUEUED,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("starting", PullState.STARTING),
        ("verifying", PullState.VERIFYING),
        ("finishing", PullState.FINISHING),
        ("installed", PullState.INSTALLED),
        ("failed", PullState.FAILED),
    ],
)
def test_each_phase_is_a_state(phase: str, state: PullState) -> None:
    assert record(running_job(), phase).state == state


@pytest.mark.parametrize(
    ("asked", "state"),
    [
        ({"cancel_requested": True}, PullState.CANCELLED),
        ({"cancel_requested": True, "held": True, "pause_requested": True}, PullState.CANCELLED),
        ({"held": True, "pause_requested": True}, PullState.PAUSED),
        ({"pause_requested": True}, PullState.PAUSED),
        # Resumed in the moment in which its node let go.
        ({}, PullState.QUEUED),
    ],
)
def test_what_a_node_lets_go_of_is_what_it_was_asked_for(
    asked: dict[str, Any], state: PullState
) -> None:
    over = timezone.now() - timedelta(minutes=1) if asked.get("pause_requested") else None
    job = record(running_job(not_after_at=over, **asked), "cancelled", done_bytes=7)
    assert (job.state, job.done_bytes) == (state, 7)
    assert (job.sent_at is None) == (state != PullState.CANCELLED)


def test_what_arrived_although_it_was_to_pause_is_installed() -> None:
    job = running_job(held=True, pause_requested=True)
    assert record(job, "installed").state == PullState.INSTALLED


@pytest.mark.parametrize(("retry", "state"), [(True, PullState.PAUSED), (False, PullState.FAILED)])
def test_a_pause_that_a_failure_crosses_is_one_if_trying_again_may_help(
    retry: bool, state: PullState
) -> None:
    job = record(running_job(held=True, pause_requested=True), "failed", retry=retry, reason="No.")
    assert (job.state, job.reason) == (state, "Paused by hand." if retry else "No.")


def test_a_paused_job_that_goes_on_is_told_again_to_stop_and_stays_paused() -> None:
    job = running_job(
        state=PullState.PAUSED,
        sent_at=None,
        held=True,
        pause_requested=True,
        reason="Paused by hand.",
    )
    job = record(job, done_bytes=9)
    assert (job.state, job.sent_at, job.done_bytes) == (PullState.PAUSED, None, 9)
    assert job.reason == "Paused by hand."
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1


def test_an_installed_model_is_done_to_the_last_byte() -> None:
    job = record(running_job(done_bytes=90, total_bytes=100), "installed", done_bytes=95)
    assert (job.done_bytes, job.finished_at is not None) == (100, True)


def test_a_failure_that_may_pass_is_tried_again_later_and_keeps_its_reason() -> None:
    told = {"reason": "The registry is down.", "retry": True, "cause": "unreachable"}
    now = timezone.now()
    job = record(running_job(), "failed", **told)
    assert (job.state, job.sent_at, job.retries, job.cause) == ("queued", None, 1, "unreachable")
    assert job.retry_at is not None
    assert 59 < (job.retry_at - now).total_seconds() < 90
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.state, job.reason, orders()) == ("queued", "The registry is down.", [])
    live.save_state(seen("rog"), arrived_at=job.retry_at)
    carry_on(now=job.retry_at)
    assert len(orders()) == 1


def test_the_last_try_fails_with_its_number() -> None:
    told = {"reason": "The registry is down.", "retry": True, "cause": "unreachable"}
    job = record(running_job(retries=4), "failed", **told)
    assert (job.state, job.retry_may_help) == (PullState.FAILED, True)
    assert job.reason == "The registry is down. Tried 5 times."


def test_bytes_that_came_begin_the_count_of_tries_anew_unless_they_were_damaged() -> None:
    told = {"retry": True, "arrived_bytes": 7}
    assert record(running_job(retries=4), "failed", cause="stalled", **told).retries == 1
    PullJob.objects.all().delete()
    other = running_job(make_instance("tower"), retries=4)
    assert record(other, "failed", cause="damaged", **told).state == PullState.FAILED


@pytest.mark.parametrize("state", [PullState.INSTALLED, PullState.FAILED, PullState.CANCELLED])
@pytest.mark.parametrize("phase", ["downloading", "installed", "failed"])
def test_a_late_report_never_revives_a_job_that_ended(state: PullState, phase: str) -> None:
    assert record(running_job(state=state), phase).state == state


def test_a_failure_of_an_earlier_attempt_is_ignored() -> None:
    assert record(running_job(attempt=2), "failed", attempt=1).state == PullState.DOWNLOADING


def test_a_success_of_an_earlier_attempt_counts() -> None:
    assert record(running_job(attempt=2), "installed", attempt=1).state == PullState.INSTALLED


@pytest.mark.parametrize(
    ("requested", "state"), [(True, PullState.CANCELLED), (False, PullState.DOWNLOADING)]
)
def test_a_cancelled_earlier_attempt_counts_if_the_job_was_to_be_cancelled(
    requested: bool, state: PullState
) -> None:
    job = running_job(attempt=2, cancel_requested=requested)
    assert record(job, "cancelled", attempt=1).state == state


def test_progress_of_an_earlier_attempt_counts_if_it_came_after_the_newest_order() -> None:
    job = running_job(attempt=2, done_bytes=1)
    late = progress(job, attempt=1, done_bytes=9)
    assert job.sent_at is not None
    before, after = (job.sent_at + timedelta(seconds=offset_s) for offset_s in (-1, 1))
    assert record_progress(late, arrived_at=before) is False
    assert record_progress(late, arrived_at=after) is True
    job.refresh_from_db()
    assert job.done_bytes == 9


def test_bytes_that_arrive_renew_the_patience_and_others_do_not() -> None:
    job = running_job(fruitless=3, done_bytes=10)
    assert record(job, done_bytes=10).fruitless == 3
    assert record(job, done_bytes=11).fruitless == 0


def test_a_report_by_another_node_is_ignored() -> None:
    job = running_job()
    make_instance("tower")
    assert record(job, "failed", node="tower").state == PullState.DOWNLOADING


def test_a_report_about_no_job_is_ignored() -> None:
    job = running_job()
    assert record_progress(progress(job, job_id=job.pk + 1), arrived_at=timezone.now()) is False


def test_the_next_job_begins_when_one_ends() -> None:
    job = running_job(model="a:1b")
    make_job(job.instance, model="b:1b")
    seen("rog")
    record(job, "installed")
    assert [order["model"] for order in orders()] == ["b:1b"]


def test_a_job_that_was_taken_back_is_running_again_by_its_report() -> None:
    job = record(running_job(state=PullState.QUEUED, sent_at=None))
    assert (job.state, job.sent_at is not None) == (PullState.DOWNLOADING, True)
