"""What schedules do about newer versions of what is there."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from labdash.domain import schedule_runs, schedules, timetable, updating
from labdash.models import (
    NameJob,
    PullJob,
    PullSchedule,
    PullState,
    RunState,
    ScheduleRun,
    Update,
)
from tests.factories import make_instance, seen
from tests.labdash.update_rows import MODEL, install, publish

pytestmark = pytest.mark.django_db

OPENS = datetime(2026, 11, 26, 2, tzinfo=UTC)
CLOSES = OPENS + timedelta(hours=4)


@pytest.fixture(autouse=True)
def _rog() -> None:
    install(make_instance("rog"))
    publish()


def run(now: datetime = OPENS, **fields: Any) -> ScheduleRun:
    """Let a schedule be due, made of what a test names."""
    if fields:
        values = {"name": "nightly", "zone": "UTC", "until": time(6), "what": "installed"}
        schedules.create(**{**values, **fields})
        PullSchedule.objects.update(decided_to=OPENS - timedelta(hours=1))
    timetable.tick(now=now)
    return ScheduleRun.objects.get(due_at=OPENS)


def test_newer_versions_are_put_before_the_owner() -> None:
    found = run(updates="ask")
    assert found.notes == ["Newer versions wait for your yes, under Updates: 1."]
    assert (found.state, found.text) == (RunState.FINISHED, "1 was there already.")
    assert (Update.objects.get().state, PullJob.objects.count()) == ("asked", 0)


def test_newer_versions_are_taken_in_the_window() -> None:
    found = run(updates="take", priority=2)
    row = Update.objects.get()
    assert (row.run, row.priority, row.state) == (found, 2, "waiting")
    assert (row.not_before_at, row.not_after_at) == (OPENS, CLOSES)
    assert found.state == RunState.RUNNING
    job = PullJob.objects.create(instance=row.instance, model=MODEL, run=found)
    Update.objects.update(state="pulling", pull_job=job)
    PullJob.objects.update(state=PullState.INSTALLED)
    assert run().text == "1 pulled, 1 was there already."


def test_updates_that_did_not_begin_wait_for_the_next_night() -> None:
    run(updates="take")
    found = run(CLOSES)
    assert found.text == "1 of 1 was left when its window closed; it goes on tomorrow at 02:00."
    row = Update.objects.get()
    assert row.not_before_at == OPENS + timedelta(days=1)
    timetable.tick(now=OPENS + timedelta(days=1))
    row.refresh_from_db()
    assert row.run != found
    schedule_runs.end_all(schedule=found.schedule, now=CLOSES)
    row.refresh_from_db()
    assert row.state == "cancelled"


def test_what_is_stopped_while_the_version_before_is_kept_pulls_nothing() -> None:
    found = run(updates="take")
    seen()
    updating.carry_on(now=OPENS)
    assert Update.objects.get().state == "copying"
    schedule_runs.stop(run=found, now=OPENS)
    NameJob.objects.update(state="done")
    updating.carry_on(now=OPENS)
    row = Update.objects.get()
    assert (row.state, row.kept_name) == ("cancelled", f"labdash-before/{MODEL}")
    assert not PullJob.objects.exists()


def test_an_update_that_failed_before_its_pull_is_told() -> None:
    run(updates="take")
    Update.objects.update(state="failed")
    found = run()
    words = "1 was there already, 1 update failed, see Updates."
    assert (found.state, found.text) == (RunState.FAILED, words)


def test_models_that_are_there_are_left_unless_updates_are_wanted() -> None:
    found = run(what="models", model_names=[MODEL])
    assert (found.state, Update.objects.count()) == (RunState.FINISHED, 0)
