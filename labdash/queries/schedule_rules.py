"""What may be wrong with schedules: places that are gone, runs that failed or never get done."""

from collections.abc import Iterator

from labdash.models import RunState
from labdash.queries import due
from labdash.queries.lab import LabView
from labdash.queries.problem_view import LONGEST_SUBJECT, LONGEST_TEXT, ProblemView
from labdash.queries.schedule_rows import ScheduleRow
from labdash.queries.schedule_targets import gone_places
from labdash.queries.schedule_words import listed

WHERE = "On Pulls, under Schedules"


def find(lab: LabView) -> Iterator[ProblemView]:
    """Yield what is wrong with the schedules that are not paused."""
    for row in lab.schedules:
        yield from _unreadable(row)
        yield from _gone(row, lab)
        yield from _failed(row)
        yield from _unfinished(row)


def _unreadable(row: ScheduleRow) -> Iterator[ProblemView]:
    """Tell of a time zone that an update of the system took away, above all."""
    try:
        due.zone_of(row.schedule.zone)
    except due.WhenError as error:
        text = f"{row.schedule} is never due: {error}"
        yield _problem(row, "schedule_unreadable", text, f"{WHERE}: edit it.")


def _gone(row: ScheduleRow, lab: LabView) -> Iterator[ProblemView]:
    gone = gone_places(row.schedule.nodes, [view.node for view in lab.nodes])
    if gone:
        verb = "is" if len(gone) == 1 else "are"
        text = f"{row.schedule} is for {listed(gone)}, which {verb} no machine and no tag now."
        yield _problem(row, "schedule_place_gone", text, f"{WHERE}: edit it, or delete it.")


def _failed(row: ScheduleRow) -> Iterator[ProblemView]:
    if row.last_state == RunState.FAILED:
        text = f"{row.schedule} failed in part: {row.last_text}"
        step = f"{WHERE}: press Run now once that is mended; else it is tried when it is due again."
        yield _problem(row, "schedule_failed", text, step)


def _unfinished(row: ScheduleRow) -> Iterator[ProblemView]:
    if row.last_state == row.before_state == RunState.UNFINISHED:
        within = "in its window" if row.schedule.until else "before it was due again,"
        text = f"{row.schedule} was not finished {within} twice in a row. {row.last_text}"
        step = (
            f"{WHERE}: see what was left. It may need a longer window, fewer models, or a machine"
            " that is awake then."
        )
        yield _problem(row, "schedule_unfinished", text, step)


def _problem(row: ScheduleRow, code: str, text: str, step: str) -> ProblemView:
    return ProblemView(
        code=code,
        text=text[:LONGEST_TEXT],
        next_step=step,
        subject=row.schedule.name[:LONGEST_SUBJECT],
        page="schedules",
    )
