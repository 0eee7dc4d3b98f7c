"""The decision about pull jobs, rule by rule."""

from dataclasses import replace

import pytest

from labdash.domain.reconcile import (
    Cancel,
    Explain,
    Fail,
    Job,
    Pause,
    Place,
    Requeue,
    Send,
    Stop,
    next_step,
)

WAITING = Job(id=1, model="qwen3:8b")
RUNNING = Job(id=2, model="phi4:14b", sent_age_s=300, sign_age_s=1, fruitless=0)
AWAKE = Place(node="rog", instance="rog/ollama", seen_age_s=1)


def place(*jobs: Job, **changes: object) -> Place:
    """Return an awake node's instance with these jobs."""
    return replace(AWAKE, jobs=jobs, **changes)  # type: ignore[arg-type]  # keywords of Place


def test_nothing_is_to_be_done_without_jobs() -> None:
    assert next_step(place()) is None


def test_nothing_is_to_be_done_while_a_job_reports() -> None:
    assert next_step(place(RUNNING)) is None


def test_a_waiting_job_is_sent_to_an_idle_instance() -> None:
    assert next_step(place(WAITING)) == Send(job=WAITING)


def test_the_oldest_of_waiting_jobs_is_sent() -> None:
    assert next_step(place(WAITING, replace(WAITING, id=3))) == Send(job=WAITING)


def test_a_job_waits_while_another_runs_and_says_for_which() -> None:
    reason = "Waits for phi4:14b: one at a time on rog/ollama."
    assert next_step(place(RUNNING, WAITING)) == Explain(job=WAITING, reason=reason)
    assert next_step(place(RUNNING, replace(WAITING, reason=reason))) is None


def test_a_job_of_a_paused_node_waits_and_says_so() -> None:
    step = next_step(place(WAITING, paused=True))
    assert step == Explain(job=WAITING, reason="Waits: rog is paused.")


def test_what_runs_on_a_paused_node_goes_on() -> None:
    lost = replace(RUNNING, sign_age_s=31)
    assert next_step(place(RUNNING, paused=True)) is None
    assert next_step(place(lost, paused=True)) == Send(job=lost)


@pytest.mark.parametrize(
    ("seen_age_s", "reason"),
    [
        (None, "Waits: rog has not reported yet."),
        (21, "Waits: rog has not reported for 21 s."),
        (190, "Waits: rog has not reported for 3 min."),
        (3 * 86400, "Waits: rog has not reported for 3 days."),
    ],
)
def test_a_job_of_a_silent_node_waits_and_says_so(seen_age_s: float | None, reason: str) -> None:
    assert next_step(place(WAITING, seen_age_s=seen_age_s)) == Explain(job=WAITING, reason=reason)


def test_a_running_job_is_taken_back_when_its_node_falls_silent() -> None:
    step = next_step(place(RUNNING, seen_age_s=25))
    assert step == Requeue(job=RUNNING, reason="Waits: rog has not reported for 25 s.")


def test_a_job_is_sent_again_when_its_reports_stop() -> None:
    assert next_step(place(replace(RUNNING, sign_age_s=30))) is None
    lost = replace(RUNNING, sign_age_s=30.5)
    assert next_step(place(lost)) == Send(job=lost)


def test_an_order_that_nobody_took_is_sent_again() -> None:
    fresh = replace(WAITING, sent_age_s=29, fruitless=1)
    unanswered = replace(WAITING, sent_age_s=31, fruitless=1)
    assert next_step(place(fresh)) is None
    assert next_step(place(unanswered)) == Send(job=unanswered)


@pytest.mark.parametrize(
    ("fruitless", "patience_s"), [(0, 30), (1, 30), (2, 60), (3, 120), (4, 240), (5, 240)]
)
def test_each_further_try_waits_twice_as_long(fruitless: int, patience_s: float) -> None:
    job = replace(WAITING, sent_age_s=patience_s, fruitless=fruitless)
    assert next_step(place(job)) is None
    assert next_step(place(replace(job, sent_age_s=patience_s + 1))) is not None


def test_a_job_fails_after_five_tries_in_which_nothing_arrived() -> None:
    job = replace(WAITING, sent_age_s=241, fruitless=5)
    assert next_step(place(job)) == Fail(
        job=job, reason="rog was sent this 5 times and nothing arrived."
    )


def test_a_cancelled_job_that_no_node_has_ends_at_once() -> None:
    job = replace(WAITING, cancel_requested=True)
    assert next_step(place(job)) == Cancel(job=job, reason="Cancelled.")


def test_a_cancelled_job_is_left_to_its_node_while_that_reports() -> None:
    assert next_step(place(replace(RUNNING, cancel_requested=True))) is None


@pytest.mark.parametrize(("sign_age_s", "seen_age_s"), [(31, 1), (1, 25)])
def test_a_cancelled_job_ends_without_its_node_if_that_stays_quiet(
    sign_age_s: float, seen_age_s: float
) -> None:
    job = replace(RUNNING, cancel_requested=True, sign_age_s=sign_age_s)
    reason = "Cancelled; rog did not confirm it and may go on for a while."
    assert next_step(place(job, seen_age_s=seen_age_s)) == Cancel(job=job, reason=reason)


LATE = "Its window has ended."
STOPPING = replace(RUNNING, pause_requested=True, rest=LATE)
PAUSED = replace(WAITING, is_paused=True, is_begun=True, rest=LATE, reason=LATE)


def test_a_job_that_must_rest_is_stopped_once() -> None:
    late = replace(RUNNING, rest=LATE)
    assert next_step(place(late)) == Stop(job=late, reason=LATE)
    assert next_step(place(STOPPING)) is None


def test_what_has_arrived_is_not_stopped_any_more() -> None:
    assert next_step(place(replace(RUNNING, rest=LATE, is_arrived=True))) is None


@pytest.mark.parametrize(("sign_age_s", "seen_age_s"), [(31, 1), (1, 25)])
def test_a_pause_that_nobody_confirms_is_noted_without_the_node(
    sign_age_s: float, seen_age_s: float
) -> None:
    job = replace(STOPPING, sign_age_s=sign_age_s)
    reason = f"{LATE} rog did not confirm it and may go on for a while."
    assert next_step(place(job, seen_age_s=seen_age_s)) == Pause(job=job, reason=reason)
    noted = replace(PAUSED, reason=reason)
    assert next_step(place(noted)) is None


def test_a_pause_that_was_taken_back_before_anybody_confirmed_it_waits_for_its_turn() -> None:
    job = replace(STOPPING, rest="", sign_age_s=31)
    assert isinstance(next_step(place(job)), Requeue)


def test_a_paused_job_lets_the_next_one_begin() -> None:
    other = replace(WAITING, id=3)
    assert next_step(place(PAUSED, other)) == Send(job=other)


def test_a_paused_job_goes_on_when_nothing_keeps_it_any_more() -> None:
    free = replace(PAUSED, rest="")
    assert next_step(place(free)) == Send(job=free)
    reason = "Waits for phi4:14b: one at a time on rog/ollama."
    assert next_step(place(RUNNING, free)) == Requeue(job=free, reason=reason)


def test_what_was_begun_or_is_held_is_paused_and_what_never_was_waits() -> None:
    early = replace(WAITING, rest="Waits for its window.")
    assert next_step(place(early)) == Explain(job=early, reason="Waits for its window.")
    for job in (replace(early, is_begun=True), replace(early, is_held=True)):
        assert next_step(place(job)) == Pause(job=job, reason=early.rest)


def test_a_job_that_is_tried_again_soon_keeps_the_reason_of_its_failure() -> None:
    job = replace(WAITING, is_begun=True, rest="Soon.", keeps_reason=True, reason="No route.")
    assert next_step(place(job)) is None


def test_a_cancelled_pause_ends_at_once() -> None:
    job = replace(PAUSED, cancel_requested=True)
    assert next_step(place(job)) == Cancel(job=job, reason="Cancelled.")
