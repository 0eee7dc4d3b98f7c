"""Schedules with what came of their last runs, as one statement reads them."""

from dataclasses import dataclass

from django.db.models import OuterRef, Subquery

from labdash.models import PullSchedule, RunState, ScheduleRun

# Of these nothing is known yet, or nobody expects that all of it is there.
_UNTOLD = (RunState.RUNNING, RunState.MISSED, RunState.STOPPED)


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A schedule that is not paused. States are empty where there was no such run."""

    schedule: PullSchedule
    last_state: str
    last_text: str
    before_state: str


def read_rows() -> tuple[ScheduleRow, ...]:
    """Read all schedules that are not paused."""
    runs = ScheduleRun.objects.filter(schedule=OuterRef("pk")).exclude(state__in=_UNTOLD)
    runs = runs.order_by("-started_at", "-pk")
    rows = PullSchedule.objects.filter(paused=False).annotate(
        last_state=Subquery(runs.values("state")[:1]),
        last_text=Subquery(runs.values("text")[:1]),
        before_state=Subquery(runs.values("state")[1:2]),
    )
    return tuple(
        ScheduleRow(
            schedule=row,
            last_state=row.last_state or "",
            last_text=row.last_text or "",
            before_state=row.before_state or "",
        )
        for row in rows
    )
