"""Make the database's schedules say what a lab's file says."""

from collections.abc import Iterable, Iterator
from typing import cast

from labdash.domain import schedules
from labdash.domain.errors import LabDashError
from labdash.models import PullSchedule
from labdash.queries.lab_schedules import ScheduleEntry

# As they are called in the file.
KEYS = {"model_names": "models"}


def store_schedules(entries: Iterable[ScheduleEntry]) -> Iterator[str]:
    """Store schedules, and tell what changed. Raises ``LabDashError`` with the schedule's name."""
    rows = {row.name: row for row in PullSchedule.objects.all()}
    for entry in entries:
        try:
            yield from _store(entry, rows.get(entry.name))
        except LabDashError as error:
            raise LabDashError(f"schedule {entry.name}: {error}") from error


def prune_schedules(entries: Iterable[ScheduleEntry]) -> Iterator[str]:
    """Delete what the file lacks."""
    for row in PullSchedule.objects.exclude(name__in=[entry.name for entry in entries]):
        schedules.delete(schedule=row)
        yield f"schedule {row.name}: deleted"


def _store(entry: ScheduleEntry, row: PullSchedule | None) -> Iterator[str]:
    values = _values(entry)
    if row is None:
        schedules.create(**values)
        yield f"schedule {entry.name}: added"
        return
    changed = {key: value for key, value in values.items() if getattr(row, key) != value}
    if changed:
        schedules.change(schedule=row, **cast("schedules.Fields", changed))
        said = ", ".join(f"{KEYS.get(key, key)} {_shown(value)}" for key, value in changed.items())
        yield f"schedule {entry.name}: {said}"


def _values(entry: ScheduleEntry) -> schedules.Fields:
    return {
        "name": entry.name,
        "what": entry.what,
        "model_names": schedules.named(entry.models),
        "nodes": list(entry.nodes),
        "cron": entry.cron,
        "until": entry.until,
        "zone": entry.zone or schedules.home_zone(),
        "at_once": entry.at_once,
        "updates": entry.updates,
        "catch_up": entry.catch_up,
        "priority": entry.priority,
        "paused": entry.paused,
    }


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
