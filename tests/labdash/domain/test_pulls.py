"""What a person does with pull jobs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from labdash import live
from labdash.domain import pulls
from labdash.domain.cancelling import raise_cancel_flag
from labdash.domain.errors import LabDashError
from labdash.domain.orders import STALE_AFTER
from labdash.domain.progress import record_progress
from labdash.domain.reconciliation import carry_on
from labdash.models import Instance, PullJob, PullState
from tests.factories import make_instance, make_job, orders, progress, running_job, seen
from workers import wire

ACTUAL = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], object]) -> None:
    """Do these at the same moment, each in a thread of its own."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        barrier.wait()
        try:
            act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        for ended in [pool.submit(run, act) for act in acts]:
            ended.result()


def forget(*, job: PullJob) -> None:
    """Delete a job as the admin does."""
    with transaction.atomic():
        pulls.abandon(job=job)
        job.delete()


@ACTUAL
def test_a_requested_pull_is_sent_to_a_live_node_at_once() -> None:
    instance = make_instance()
    seen("rog")
    job = pulls.request_pull(instance=instance, model="qwen3:8b", user=None)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.sent_at is not None) == (PullState.QUEUED, 1, True)
    assert orders("rog") == [
        {
            "task": "workers.pull",
            "protocol": 1,
            "node": "rog",
            "job_id": job.pk,
            "attempt": 1,
            "instance": "ollama",
            "instance_url": "http://127.0.0.1:11434",
            "model": "qwen3:8b",
            "deadline_s": 86400.0,
            "keep_free_bytes": 10 * 2**30,
            "origin": None,
        }
    ]


@ACTUAL
def test_an_order_of_an_agentless_node_goes_to_the_worker_on_the_hub() -> None:
    instance = make_instance("attic", agentless=True)
    seen("attic")
    pulls.request_pull(instance=instance, model="qwen3:8b", user=None)
    assert [order["node"] for order in orders(wire.HUB_NODE)] == ["attic"]
    assert orders("attic") == []


@ACTUAL
@pytest.mark.parametrize("again", ["qwen3:8b", "library/qwen3:8b", "Qwen3:8B"])
def test_a_second_request_for_one_model_returns_the_job_under_way(again: str) -> None:
    instance = make_instance()
    first = pulls.request_pull(instance=instance, model="qwen3:8b", user=None)
    assert pulls.request_pull(instance=instance, model=again, user=None) == first


@ACTUAL
def test_a_request_after_the_end_makes_a_new_job() -> None:
    ended = make_job(state=PullState.INSTALLED)
    assert pulls.request_pull(instance=ended.instance, model=ended.model, user=None) != ended


@ACTUAL
def test_requests_at_the_same_moment_make_one_job() -> None:
    instance = make_instance()
    found: list[int] = []

    def ask() -> None:
        found.append(pulls.request_pull(instance=instance, model="qwen3:8b", user=None).pk)

    at_once(ask, ask, ask, ask)
    assert found == [PullJob.objects.get().pk] * 4


@ACTUAL
def test_retries_at_the_same_moment_make_one_job() -> None:
    failed = make_job(state=PullState.FAILED)

    def retry() -> None:
        pulls.retry_pull(job=failed, user=None)

    at_once(retry, retry, retry)
    assert PullJob.objects.active().count() == 1


@ACTUAL
@pytest.mark.parametrize("stop", [pulls.cancel_pull, forget])
def test_an_order_that_is_sent_while_its_job_is_stopped_is_followed_by_the_flag(
    stop: Callable[..., None],
) -> None:
    instance = make_instance()
    seen("rog")
    for number in range(12):
        job = make_job(instance, model=f"m{number}:1b")
        at_once(carry_on, lambda job=job: stop(job=job))  # type: ignore[misc]  # bound now
        sent = [order for order in orders() if order["job_id"] == job.pk]
        flagged = live.store().exists(wire.cancel_key("rog", job.pk)) == 1
        assert flagged >= bool(sent)
        PullJob.objects.all().delete()


@pytest.mark.django_db
def test_a_name_that_cannot_be_pulled_makes_no_job() -> None:
    with pytest.raises(LabDashError):
        pulls.request_pull(instance=make_instance(), model="evil.example/a/b", user=None)
    assert not PullJob.objects.exists()


@ACTUAL
def test_a_job_stays_queued_while_the_store_is_down(dead_store: None) -> None:
    job = pulls.request_pull(instance=make_instance(), model="qwen3:8b", user=None)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.sent_at) == (PullState.QUEUED, 0, None)


@ACTUAL
def test_cancelling_a_waiting_job_ends_it_at_once() -> None:
    job = make_job()
    pulls.cancel_pull(job=job)
    assert (job.state, job.reason, job.finished_at is not None) == (
        PullState.CANCELLED,
        "Cancelled.",
        True,
    )
    assert live.store().keys("node:*") == []


@ACTUAL
def test_cancelling_a_running_job_raises_the_flag_that_its_node_checks() -> None:
    job = running_job()
    seen("rog")
    pulls.cancel_pull(job=job)
    assert (job.state, job.cancel_requested) == (PullState.DOWNLOADING, True)
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1


@ACTUAL
def test_cancelling_a_job_that_was_taken_back_ends_it_and_the_order_that_may_still_lie_there() -> (
    None
):
    job = make_job(attempt=1)
    pulls.cancel_pull(job=job)
    assert (job.state, job.reason) == (PullState.CANCELLED, "Cancelled.")
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1


@ACTUAL
def test_a_flag_stays_longer_than_an_order_lies_in_its_queue() -> None:
    job = running_job()
    pulls.cancel_pull(job=job)
    kept_s = int(live.store().ttl(wire.cancel_key("rog", job.pk)))
    assert kept_s > 2 * STALE_AFTER.total_seconds()


@ACTUAL
def test_cancelling_a_job_of_an_agentless_node_raises_the_flag_for_the_hub() -> None:
    job = running_job(make_instance("attic", agentless=True))
    pulls.cancel_pull(job=job)
    assert live.store().exists(wire.cancel_key(wire.HUB_NODE, job.pk)) == 1


@ACTUAL
def test_cancelling_works_while_the_store_is_down(dead_store: None) -> None:
    job = running_job()
    pulls.cancel_pull(job=job)
    assert job.cancel_requested is True


@ACTUAL
@pytest.mark.parametrize("sent", [True, False])
def test_no_job_that_a_node_may_have_ends_without_its_flag(dead_store: None, sent: bool) -> None:
    job = running_job() if sent else make_job(attempt=1)
    pulls.cancel_pull(job=job)
    assert (job.is_active, job.cancel_requested) == (True, True)


@ACTUAL
@pytest.mark.parametrize("job_of", [running_job, lambda: make_job(attempt=1)])
def test_a_job_that_a_node_may_have_is_not_abandoned_while_the_store_is_down(
    dead_store: None, job_of: Callable[[], PullJob]
) -> None:
    with pytest.raises(LabDashError, match="Try again later"):
        pulls.abandon(job=job_of())


@ACTUAL
@pytest.mark.parametrize(
    "job_of", [make_job, lambda: running_job(state=PullState.FAILED, reason="as it was")]
)
def test_a_job_that_no_node_has_is_abandoned_whatever_the_store_does(
    dead_store: None, job_of: Callable[[], PullJob]
) -> None:
    job = job_of()
    pulls.abandon(job=job)
    job.refresh_from_db()
    assert job.is_active is False


@ACTUAL
@pytest.mark.parametrize("state", [PullState.INSTALLED, PullState.FAILED, PullState.CANCELLED])
def test_cancelling_what_has_ended_changes_nothing(state: PullState) -> None:
    job = running_job(state=state, reason="as it was")
    pulls.cancel_pull(job=job)
    assert (job.state, job.reason, job.cancel_requested) == (state, "as it was", False)


@ACTUAL
def test_a_job_that_no_node_had_is_paused_at_once_and_goes_on_when_resumed() -> None:
    job = make_job()
    seen("rog")
    pulls.pause_pull(job=job)
    carry_on()
    assert (job.state, job.reason, orders()) == (PullState.PAUSED, "Paused by hand.", [])
    pulls.resume_pull(job=job)
    assert (job.state, job.held, len(orders())) == (PullState.QUEUED, False, 1)


@ACTUAL
def test_pausing_raises_the_flag_and_resuming_takes_it_back() -> None:
    job = running_job()
    seen("rog")
    key = wire.cancel_key("rog", job.pk)
    pulls.pause_pull(job=job)
    assert (job.held, job.pause_requested, live.store().exists(key)) == (True, True, 1)
    pulls.resume_pull(job=job)
    assert (job.held, job.pause_requested, live.store().exists(key)) == (False, False, 0)
    assert job.state == PullState.DOWNLOADING


@ACTUAL
def test_a_flag_that_could_not_be_taken_back_does_not_stop_the_next_order() -> None:
    job = make_job(state=PullState.PAUSED, attempt=1, held=True, pause_requested=True)
    raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    PullJob.objects.update(held=False)
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.state, job.attempt, job.pause_requested) == (PullState.QUEUED, 2, False)
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 0


@ACTUAL
def test_what_has_ended_or_arrived_is_neither_paused_nor_resumed() -> None:
    installed = make_job(state=PullState.INSTALLED)
    verifying = running_job(installed.instance, state=PullState.VERIFYING)
    for job in (installed, verifying):
        with pytest.raises(LabDashError, match="nothing to pause"):
            pulls.pause_pull(job=job)
    with pytest.raises(LabDashError, match="Try it again"):
        pulls.resume_pull(job=installed)


@ACTUAL
def test_a_window_pauses_what_runs_and_the_next_one_lets_it_go_on() -> None:
    now = timezone.now()
    job = running_job(not_after_at=now)
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.pause_requested, job.reason) == (True, "Its window has ended.")
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1
    record_progress(progress(job, "cancelled"), arrived_at=timezone.now())
    job.refresh_from_db()
    assert job.state == PullState.PAUSED
    tonight, morning = now - timedelta(minutes=1), now + timedelta(hours=5)
    assert pulls.move_window(job=job, not_before_at=tonight, not_after_at=morning)
    job.refresh_from_db()
    assert (job.state, job.attempt, len(orders())) == (PullState.QUEUED, 2, 1)


@ACTUAL
def test_resuming_by_hand_opens_the_window() -> None:
    job = make_job(not_before_at=timezone.now() + timedelta(hours=9))
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.state, job.reason) == (PullState.QUEUED, "Waits for its window.")
    pulls.resume_pull(job=job)
    assert len(orders()) == 1


@ACTUAL
def test_a_second_request_widens_the_window_and_never_puts_off() -> None:
    now = timezone.now()
    hours = [now + timedelta(hours=each) for each in range(6)]
    ask = partial(pulls.request_pull, instance=make_instance(), model="qwen3:8b", user=None)
    job = ask(not_before_at=hours[2], not_after_at=hours[4])
    wider = ask(not_before_at=hours[3], not_after_at=hours[5], priority=2)
    assert wider == job
    assert (wider.not_before_at, wider.not_after_at, wider.priority) == (hours[2], hours[5], 2)
    at_once = ask()
    assert (at_once.not_before_at, at_once.not_after_at, at_once.priority) == (None, None, 2)


def test_windows_that_do_not_meet_leave_out_what_lies_between() -> None:
    now = timezone.now()
    last, tonight, sunday = (
        (now + timedelta(hours=each), now + timedelta(hours=each + 4)) for each in (-20, 3, 51)
    )
    assert pulls.together(last, tonight, now=now) == tonight
    assert pulls.together(sunday, tonight, now=now) == tonight
    assert pulls.together(tonight, (None, None), now=now) == (None, None)


@ACTUAL
def test_jobs_of_half_a_year_ago_are_forgotten() -> None:
    now = timezone.now()
    old = make_job(state=PullState.FAILED, finished_at=now - timedelta(days=181))
    new = make_job(old.instance, state=PullState.FAILED, finished_at=now - timedelta(days=179))
    waiting = make_job(old.instance)
    assert pulls.prune(now=now) == 1
    assert set(PullJob.objects.all()) == {new, waiting}


@ACTUAL
@pytest.mark.parametrize("state", [PullState.FAILED, PullState.CANCELLED])
def test_retrying_makes_a_new_job_for_the_same_model(state: PullState) -> None:
    old = make_job(state=state)
    new = pulls.retry_pull(job=old, user=None)
    assert (new.pk != old.pk, new.model, new.instance) == (True, old.model, old.instance)


@pytest.mark.django_db
def test_retrying_what_runs_returns_it() -> None:
    job = running_job()
    assert pulls.retry_pull(job=job, user=None) == job


@pytest.mark.django_db
def test_retrying_what_was_installed_is_refused() -> None:
    with pytest.raises(LabDashError, match="nothing to repeat"):
        pulls.retry_pull(job=make_job(state=PullState.INSTALLED), user=None)


@pytest.mark.django_db
def test_active_jobs_are_those_of_the_node_that_have_not_ended() -> None:
    job = running_job()
    make_job(job.instance, state=PullState.FAILED)
    make_job(make_instance("tower"))
    assert list(pulls.active_jobs(node=Instance.objects.get(pk=job.instance_id).node)) == [job]
