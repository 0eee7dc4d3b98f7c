"""See what is due, and carry on what runs: one tick of all schedules."""

import logging
from datetime import datetime

from labdash.domain import schedule_runs
from labdash.models import PullSchedule, ScheduleRun
from labdash.queries import due

log = logging.getLogger(__name__)


def tick(*, now: datetime) -> int:
    """Begin what is due and take the next step of what runs; return how many began."""
    runs = list(ScheduleRun.objects.running().select_related("schedule"))
    if runs:
        schedule_runs.carry_on(runs=runs, now=now)
    return sum(_tick(schedule, now) for schedule in PullSchedule.objects.filter(paused=False))


def _tick(schedule: PullSchedule, now: datetime) -> bool:
    """Begin one schedule where it is due. One that cannot be read keeps no other from it."""
    if schedule.decided_to > now:
        # The clock was put back. What ran is known by its time, and does not run again.
        _decided(schedule, now)
        return False
    try:
        found = due.decide(
            schedule, decided_to=schedule.decided_to, now=now, catch_up=schedule.catch_up
        )
    except ValueError as error:
        log.warning("schedule not read schedule=%s: %s", schedule, error)
        return False
    if found is None:
        return False
    began = _begin(schedule, found, now)
    _decided(schedule, now)
    return began


def _begin(schedule: PullSchedule, found: due.Due, now: datetime) -> bool:
    if found.is_missed or (schedule.gives_gpus and found.window.opens_at != found.due_at):
        # Cards that nobody asked back in time are not given back in the middle of the day.
        schedule_runs.note_missed(schedule=schedule, found=found, now=now)
        return False
    notes = ["It began late: the hub was off."] if found.is_late else []
    if found.passed:
        times = "One time" if found.passed == 1 else f"{found.passed} times"
        notes.append(f"{times} before it passed while the hub was off.")
    run = schedule_runs.start(
        schedule=schedule, due_at=found.due_at, window=found.window, now=now, notes=notes
    )
    return run is not None


def _decided(schedule: PullSchedule, now: datetime) -> None:
    same = PullSchedule.objects.filter(pk=schedule.pk, decided_to=schedule.decided_to)
    same.update(decided_to=now)
