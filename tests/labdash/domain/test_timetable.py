"""Schedules from the moment that they are due until all is there, or their window closes."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labdash.domain import pulls, returning, schedule_runs, schedules, timetable
from labdash.domain.errors import LabDashError
from labdash.domain.reconciliation import carry_on
from labdash.models import Gpu, Node, PullJob, PullSchedule, PullState, RunState, ScheduleRun
from labdash.queries.due import Window
from tests.factories import GIB, make_installed, make_instance, make_job, make_node, ollama, seen
from workers import wire

pytestmark = pytest.mark.django_db

# The nights of the tests: 02:00 to 06:00 by UTC.
EVENING = datetime(2026, 11, 25, 20, tzinfo=UTC)
OPENS, CLOSES = EVENING + timedelta(hours=6), EVENING + timedelta(hours=10)
NEXT_NIGHT = OPENS + timedelta(days=1)


def make_schedule(**fields: Any) -> PullSchedule:
    """Store a schedule as it stood in the evening."""
    values = {"name": "nightly", "model_names": ["qwen3:8b"], "until": time(6), "zone": "UTC"}
    made = schedules.create(**{**values, **fields})
    PullSchedule.objects.update(decided_to=EVENING)
    made.refresh_from_db()
    return made


def tick(now: datetime = OPENS + timedelta(seconds=10)) -> list[ScheduleRun]:
    """Let the timetable look at the clock; return all runs, the oldest first."""
    timetable.tick(now=now)
    return list(ScheduleRun.objects.order_by("pk"))


def end_jobs(state: PullState = PullState.INSTALLED, **which: Any) -> None:
    """Let jobs have ended."""
    PullJob.objects.active().filter(**which).update(state=state, reason="no such tag")


def test_what_is_due_is_asked_for_where_it_is_not_there() -> None:
    rog, _ = make_instance("rog", tags=["desk"]), make_instance("attic")
    make_installed(rog, "qwen3:8b")
    make_schedule(model_names=["qwen3:8b", "QWEN3:4b"], nodes=["desk"], priority=2)
    assert tick(OPENS - timedelta(seconds=1)) == []
    [run] = tick()
    assert (run.due_at, run.ends_at, run.present) == (OPENS, CLOSES, 1)
    job = PullJob.objects.get()
    assert (job.instance, job.model, job.run, job.priority) == (rog, "QWEN3:4b", run, 2)
    assert (job.not_before_at, job.not_after_at, job.waits) == (OPENS, CLOSES, "")
    assert tick() == [run]
    end_jobs()
    [run] = tick()
    assert (run.state, run.text) == (RunState.FINISHED, "1 pulled, 1 was there already.")


def test_a_window_that_closes_leaves_the_rest_to_the_next_night() -> None:
    instance = make_instance()
    make_schedule(model_names=["qwen3:8b", "qwen3:4b"])
    tick()
    end_jobs(model="qwen3:4b")
    [first] = tick(CLOSES)
    assert first.state == RunState.UNFINISHED
    assert first.text == "1 of 2 was left when its window closed; it goes on tomorrow at 02:00."
    left = PullJob.objects.active().get()
    assert (left.not_before_at, left.not_after_at) == (NEXT_NIGHT, CLOSES + timedelta(days=1))
    make_installed(instance, "qwen3:4b")
    _, second = tick(NEXT_NIGHT)
    left.refresh_from_db()
    assert (left.run, second.state) == (second, RunState.RUNNING)
    end_jobs(PullState.FAILED)
    assert tick(NEXT_NIGHT + timedelta(minutes=1))[1].text == (
        "1 was there already, 1 failed: qwen3:8b on rog (no such tag)."
    )


def test_two_schedules_of_one_model_make_one_job() -> None:
    make_instance()
    make_schedule(until=time(3))
    make_schedule(name="weekly")
    first, second = tick()
    job = PullJob.objects.get()
    assert (job.run, first.joined, second.joined) == (first, [], [job.pk])
    # The first one's window closes, the second one's is open still.
    first, second = tick(OPENS + timedelta(hours=1))
    assert (first.state, second.state) == (RunState.UNFINISHED, RunState.RUNNING)
    schedules.delete(schedule=first.schedule)
    job.refresh_from_db()
    assert (job.run, job.state) == (second, PullState.QUEUED)
    end_jobs()
    assert tick(OPENS + timedelta(hours=1))[0].text == "1 pulled."


def test_what_somebody_asked_for_by_hand_is_joined_and_not_put_off() -> None:
    job = make_job()
    make_schedule()
    [run] = tick()
    job.refresh_from_db()
    assert (run.joined, job.run, job.not_after_at) == ([job.pk], None, None)


def test_some_machines_pull_at_once_and_the_others_are_told_to_wait() -> None:
    for slug in ("attic", "mac", "rog"):
        make_instance(slug, last_seen_at=OPENS)
    PullSchedule.objects.all().delete()
    make_schedule(at_once=1, model_names=["a:1", "b:1"])
    tick()
    waits = "Waits for its turn: nightly pulls to one machine at a time."
    assert _waiting() == {"attic": {""}, "mac": {waits}, "rog": {waits}}
    end_jobs(instance__node__slug="attic")
    tick(OPENS + timedelta(seconds=15))
    assert _waiting() == {"mac": {""}, "rog": {waits}}
    # Who falls asleep keeps nobody out.
    Node.objects.filter(slug="rog").update(last_seen_at=OPENS + timedelta(minutes=2))
    tick(OPENS + timedelta(minutes=2))
    assert _waiting() == {"mac": {waits}, "rog": {""}}


def test_what_a_run_asks_for_later_waits_for_its_turn_too() -> None:
    attic, mac = (make_instance(slug, last_seen_at=OPENS) for slug in ("attic", "mac"))
    make_schedule(at_once=1)
    [run] = tick()
    end_jobs()
    # As updates do once the version before has its second name.
    for instance in (attic, mac):
        pulls.request_pull(instance=instance, model="phi4:14b", user=None, run=run)
    waits = "Waits for its turn: nightly pulls to one machine at a time."
    assert _waiting() == {"attic": {waits}, "mac": {waits}}
    tick()
    assert _waiting() == {"attic": {""}, "mac": {waits}}


def test_a_machine_whose_pulls_are_held_keeps_no_other_out() -> None:
    for slug in ("attic", "mac"):
        make_instance(slug, last_seen_at=OPENS)
    schedule = make_schedule(at_once=1)
    tick()
    waits = "Waits for its turn: nightly pulls to one machine at a time."
    PullJob.objects.filter(instance__node__slug="attic").update(held=True)
    tick()
    assert _waiting() == {"attic": {waits}, "mac": {""}}
    # A pull that is tried again soon, or rests under a speed limit, loses no turn.
    PullJob.objects.update(held=False, retry_at=OPENS + timedelta(minutes=1))
    tick()
    assert _waiting() == {"attic": {""}, "mac": {waits}}
    resting = PullJob.objects.filter(instance__node__slug="mac")
    resting.update(rest_until_at=OPENS + timedelta(minutes=9))
    tick()
    assert _waiting() == {"attic": {waits}, "mac": {""}}
    # Nobody waits for a turn any more where there are none.
    schedules.change(schedule=schedule, at_once=None)
    tick()
    assert _waiting() == {"attic": {""}, "mac": {""}}


def test_a_run_ends_with_its_window_as_it_is_now() -> None:
    make_instance()
    schedule = make_schedule()
    tick()
    schedules.change(schedule=schedule, until=time(8))
    [run] = tick(CLOSES + timedelta(minutes=1))
    assert (run.state, run.ends_at) == (RunState.RUNNING, CLOSES + timedelta(hours=2))
    assert PullJob.objects.get().not_after_at == run.ends_at


def test_cards_come_back_where_their_schedule_is_to_pull_from_now_on() -> None:
    gpu = Gpu.objects.create(node=make_node("rog"), uuid="GPU-0", name="RTX 3090")
    schedule = make_schedule(what="gpus", model_names=[])
    tick()
    schedules.change(schedule=schedule, what="models", model_names=["qwen3:8b"])
    gpu.refresh_from_db()
    assert (gpu.given_back, ScheduleRun.objects.get().state) == (False, RunState.STOPPED)


def _waiting() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    rows = PullJob.objects.active().order_by("instance__node__slug")
    for slug, waits in rows.values_list("instance__node__slug", "waits"):
        found.setdefault(slug, set()).add(waits)
    return found


def test_what_does_not_fit_is_refused_before_its_first_byte() -> None:
    disk = wire.DiskReading(path="/models", total_bytes=900 * GIB, free_bytes=GIB)
    told = seen(instances=(ollama(disk=disk),))
    make_instance("rog", last_sample=told.model_dump(mode="json"))
    make_schedule()
    run = schedules.run_now(schedule=PullSchedule.objects.get(), user=None)
    carry_on()
    schedule_runs.carry_on(runs=[run], now=OPENS)
    run.refresh_from_db()
    job = PullJob.objects.get()
    assert (job.attempt, job.state, run.state) == (0, PullState.FAILED, RunState.FAILED)
    assert "It does not fit: rog has 1.0 GiB free" in run.text


@pytest.mark.parametrize("catch_up", [True, False])
def test_a_night_that_the_hub_slept_through_is_made_good_or_noted(catch_up: bool) -> None:
    make_instance()
    make_schedule(catch_up=catch_up)
    noon = NEXT_NIGHT + timedelta(hours=10)
    [run] = tick(noon)
    assert (run.due_at, PullJob.objects.count()) == (NEXT_NIGHT, int(catch_up))
    if catch_up:
        assert (run.state, run.ends_at) == (RunState.RUNNING, noon + timedelta(hours=4))
        assert run.notes[0] == "It began late: the hub was off."
    else:
        text = "It passed while the hub was off. So did 1 before it."
        assert (run.state, run.text) == (RunState.MISSED, text)
    assert len(tick(noon)) == 1


def test_a_clock_that_was_put_back_starts_nothing_twice() -> None:
    make_instance()
    schedule = make_schedule()
    tick()
    assert len(tick(OPENS - timedelta(hours=1))) == 1
    schedule.refresh_from_db()
    assert schedule.decided_to == OPENS - timedelta(hours=1)
    assert len(tick()) == 1


def test_two_deciders_begin_it_once() -> None:
    make_instance()
    schedule = make_schedule()
    found = [
        schedule_runs.start(
            schedule=schedule, due_at=OPENS, window=Window(opens_at=OPENS), now=OPENS
        )
        for _ in range(2)
    ]
    assert [run is None for run in found] == [False, True]


def test_a_paused_schedule_is_not_due_and_one_that_cannot_be_read_harms_no_other() -> None:
    make_instance()
    schedules.pause(schedule=make_schedule())
    broken = make_schedule(name="broken")
    PullSchedule.objects.filter(pk=broken.pk).update(zone="Atlantis/Deep")
    make_schedule(name="good")
    assert [run.schedule.name for run in tick()] == ["good"]
    # Not even where it can be read no more while it runs.
    PullSchedule.objects.filter(name="good").update(zone="Atlantis/Deep")
    make_schedule(name="other")
    [good, _] = tick(CLOSES)
    assert good.text == "1 of 1 was left when its window closed; it waits until it runs again."


def test_run_now_knows_no_window_and_begins_once() -> None:
    make_instance()
    schedule = make_schedule()
    run = schedules.run_now(schedule=schedule, user=None)
    job = PullJob.objects.get()
    assert (run.by_hand, run.ends_at, job.not_before_at, job.not_after_at) == (True, *[None] * 3)
    with pytest.raises(LabDashError, match="nightly runs already"):
        schedules.run_now(schedule=schedule, user=None)
    schedule_runs.stop(run=run, now=OPENS)
    job.refresh_from_db()
    assert (run.state, job.state) == (RunState.STOPPED, PullState.CANCELLED)


def test_cards_go_back_to_their_owner_and_come_again() -> None:
    node = make_node("rog")
    ours, kept = (
        Gpu.objects.create(node=node, uuid=uuid, name="RTX 3090") for uuid in ("GPU-0", "GPU-1")
    )
    returning.give_back(gpu=kept)
    make_schedule(what="gpus", nodes=["rog"], model_names=[], until=time(6))
    make_schedule(name="later", what="gpus", nodes=["rog"], model_names=[], until=time(7))
    tick()
    assert set(Gpu.objects.values_list("given_back", flat=True)) == {True}
    # The other schedule still has it.
    tick(CLOSES)
    ours.refresh_from_db()
    assert ours.given_back
    runs = tick(CLOSES + timedelta(hours=1))
    ours.refresh_from_db()
    kept.refresh_from_db()
    assert (ours.given_back, kept.given_back) == (False, True)
    assert {run.state for run in runs} == {RunState.FINISHED}


def test_a_place_that_is_gone_is_noted_and_nothing_is_asked_for() -> None:
    make_instance("rog")
    schedule = make_schedule()
    PullSchedule.objects.filter(pk=schedule.pk).update(nodes=["attic"])
    [run] = tick()
    assert run.notes == [
        "attic is no machine and no tag of one now.",
        "There is no Ollama server to pull to.",
    ]
    assert (run.state, run.text) == (RunState.FINISHED, "There was nothing to do.")


def test_a_large_schedule_is_decided_in_few_statements() -> None:
    for number in range(3):
        make_instance(f"node-{number}")
    schedule = make_schedule(model_names=[f"model:{number}" for number in range(20)], at_once=1)
    with CaptureQueriesContext(connection) as small:
        tick()
    assert PullJob.objects.count() == 60
    schedule_runs.end_all(schedule=schedule, now=OPENS)
    for number in range(3, 8):
        make_instance(f"node-{number}")
    schedules.change(schedule=schedule, model_names=[f"model:{number}" for number in range(60)])
    PullSchedule.objects.update(decided_to=CLOSES)
    with CaptureQueriesContext(connection) as large:
        tick(NEXT_NIGHT)
    assert PullJob.objects.active().count() == 480
    assert len(large) == len(small) < 30


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"name": " "}, "Write a name, such as nightly."),
        ({"name": "a/b"}, "Name: Use letters, digits, spaces, dots and hyphens, at most 60."),
        ({"model_names": []}, "Write at least one model name, such as qwen3:14b."),
        ({"model_names": ["http://x/y"]}, ("Leave out what ends with ://: write the name alone,"
         " such as qwen3:8b.")),
        ({"nodes": ["attic"]}, "No node and no tag is named attic."),
        ({"cron": "0 2 * *"}, ("Write five fields: minute, hour, day of the month, month, day of"
         " the week, such as 0 2 * * 1-5.")),
        ({"zone": "Berlin"}, "'Berlin' is no time zone: write one as Europe/Berlin."),
        ({"what": "gpus", "until": None}, "Say until when the GPUs are their owner's."),
        ({"what": "installed"}, ("What is installed is there already: choose whether newer versions"
         " are told or pulled.")),
        ({"at_once": 0}, "Machines at once: Ensure this value is greater than or equal to 1."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_line(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(LabDashError) as refused:
        make_schedule(**fields)
    assert str(refused.value) == line


def test_names_are_unique_and_a_change_is_due_from_now_on() -> None:
    make_instance()
    schedule = make_schedule()
    with pytest.raises(LabDashError, match="There is a schedule named nightly already"):
        make_schedule()
    schedules.change(schedule=schedule, cron="0  3 * * *")
    assert (schedule.cron, schedule.decided_to > EVENING) == ("0 3 * * *", True)
