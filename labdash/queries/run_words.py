"""What came of a run of a schedule, in a sentence."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from labdash.models import ENDED, PullSchedule, PullState, ScheduleRun
from labdash.queries.due import Window, zone_of
from labdash.queries.schedule_words import clock_words

# Failures that are named; the others are counted.
MOST_FAILED = 3


class Part(NamedTuple):
    """A job of a run, its own or one that it joined.

    ``is_busy``: its machine is at it, or rests between two turns under a speed limit. ``is_kept``:
    somebody holds it, or its next try is far off.
    """

    key: int
    run: int | None
    model: str
    node: str
    state: str
    reason: str = ""
    waits: str = ""
    is_busy: bool = False
    is_kept: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED


def ended_words(run: ScheduleRun, jobs: Collection[Part], lost: int = 0) -> str:
    """Say what came of a run all of whose jobs have ended. ``lost`` updates failed before that."""
    said = [*_ended(run, jobs)]
    if lost:
        said.append(f"{lost} {'update' if lost == 1 else 'updates'} failed, see Updates")
    return f"{', '.join(said) or 'There was nothing to do'}."


def left_words(
    left: int, of: int, following: Window | None, schedule: PullSchedule, now: datetime
) -> str:
    """Say what is left of a run whose window has closed."""
    begin = f"{left} of {of} {'was' if left == 1 else 'were'} left when its window closed"
    if following is None:
        return f"{begin}; {'it waits' if left == 1 else 'they wait'} until it runs again."
    moment = following.opens_at.astimezone(zone_of(schedule.zone))
    verb = "goes" if left == 1 else "go"
    return f"{begin}; {'it' if left == 1 else 'they'} {verb} on {clock_words(moment, now)}."


def _ended(run: ScheduleRun, jobs: Collection[Part]) -> Iterator[str]:
    installed = sum(job.state == PullState.INSTALLED for job in jobs)
    cancelled = sum(job.state == PullState.CANCELLED for job in jobs)
    failed = [job for job in jobs if job.state == PullState.FAILED]
    if installed:
        yield f"{installed} pulled"
    if run.present:
        yield f"{run.present} {'was' if run.present == 1 else 'were'} there already"
    if cancelled:
        yield f"{cancelled} cancelled"
    if failed:
        yield f"{len(failed)} failed: {'; '.join(map(_failure, failed[:MOST_FAILED]))}"


def _failure(job: Part) -> str:
    why = job.reason.rstrip(".")
    return f"{job.model} on {job.node}{f' ({why})' if why else ''}"
