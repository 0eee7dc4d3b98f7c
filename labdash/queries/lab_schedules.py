"""Schedules of a lab's file: read strictly, with one clear line for what is wrong, and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time

from labdash.models import ScheduleWhat, UpdateRule
from labdash.models.schedule import LEAST_PRIORITY, MOST_AT_ONCE, MOST_PRIORITY, USUAL_PRIORITY
from labdash.queries import due
from labdash.queries.schedule_words import DAYS, cron_of, simple_of
from labdash.queries.toml_table import Table

SCHEDULE_KEYS = (
    "name", "what", "models", "nodes", "at", "days", "cron", "until", "zone", "at_once",
    "updates", "catch_up", "priority", "paused",
)  # fmt: skip
WHATS, RULES = tuple(ScheduleWhat.values), tuple(UpdateRule.values)
# To judge the times of one that leaves its zone to the lab.
SOME_ZONE = "UTC"


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """A schedule. A zone that is empty was left out: that of the lab holds."""

    name: str
    cron: str
    what: str = ScheduleWhat.MODELS.value
    models: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    until: time | None = None
    zone: str = ""
    at_once: int | None = None
    updates: str = UpdateRule.NEVER.value
    catch_up: bool = False
    priority: int = USUAL_PRIORITY
    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class _When:
    cron: str
    zone: str
    until: time | None


def read_schedule(table: Table) -> ScheduleEntry:
    """Read one. Raises ``PlannerError``."""
    name = table.text("name")
    table.named(name)
    found = ScheduleEntry(
        name=name,
        what=table.choice("what", WHATS, ScheduleEntry.what),
        models=table.texts("models"),
        nodes=table.texts("nodes"),
        cron=_cron(table),
        until=_clock(table, "until") if table.has("until") else None,
        zone=table.text("zone") if table.has("zone") else "",
        at_once=table.whole("at_once", least=1, most=MOST_AT_ONCE),
        updates=table.choice("updates", RULES, ScheduleEntry.updates),
        catch_up=table.flag("catch_up"),
        priority=table.whole("priority", least=LEAST_PRIORITY, most=MOST_PRIORITY)
        or USUAL_PRIORITY,
        paused=table.flag("paused"),
    )
    _check(table, found)
    return found


def when_lines(entry: ScheduleEntry) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """Yield the keys that say when, with what is written of them."""
    simple = simple_of(entry.cron)
    if simple is None or cron_of(simple.at, simple.days) != entry.cron:
        yield "cron", entry.cron
    else:
        yield "at", f"{simple.at:%H:%M}"
        if len(simple.days) < len(DAYS):
            yield "days", tuple(DAYS[day] for day in sorted(simple.days))
    if entry.until is not None:
        yield "until", f"{entry.until:%H:%M}"


def _cron(table: Table) -> str:
    if table.has("cron"):
        if table.has("at") or table.has("days"):
            raise table.error("it has both cron and at or days: write one of them")
        return " ".join(table.text("cron").split())
    if not table.has("at"):
        raise table.error('it has no at and no cron: write at = "02:00"')
    days = table.choices("days", DAYS)
    return cron_of(_clock(table, "at"), [DAYS.index(day) for day in days])


def _clock(table: Table, key: str) -> time:
    text = table.text(key)
    try:
        hour, minute = (int(part) for part in text.split(":"))
        return time(hour, minute)
    except ValueError:
        raise table.error(f'{key} is {text[:20]!r}: write a time such as "02:00"') from None


def _check(table: Table, entry: ScheduleEntry) -> None:
    try:
        due.check(_When(cron=entry.cron, zone=entry.zone or SOME_ZONE, until=entry.until))
    except due.WhenError as error:
        raise table.error(str(error).rstrip(".")) from None
    for wrong, text in _objections(entry):
        if wrong:
            raise table.error(text)


def _objections(entry: ScheduleEntry) -> Iterator[tuple[bool, str]]:
    is_models = entry.what == ScheduleWhat.MODELS
    yield is_models and not entry.models, "it has no models, and no other what"
    yield bool(entry.models) and not is_models, f"it has models, and its what is {entry.what}"
    is_gpus = entry.what == ScheduleWhat.GPUS
    yield is_gpus and entry.until is None, "say until when the GPUs are their owner's"
    is_idle = entry.what == ScheduleWhat.INSTALLED and entry.updates == UpdateRule.NEVER
    yield is_idle, 'what is installed is there already: write updates = "ask" or "take"'
