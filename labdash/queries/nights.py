"""The next seven nights as a calendar: each from noon to noon, with what is due in it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from labdash.queries import due

NIGHTS = 7
NOON = 12
DAY = timedelta(days=1)
# What has no end still has to be seen; so has what is short.
LEAST_WIDTH = 8
WIDTH = 1000
# Of a lane, and of what lies around it.
LANE, ROOM = 9, 4
# Each three hours from noon to noon, without the first and the last.
TICKS = tuple(WIDTH * number // 8 for number in range(1, 8))


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A schedule as the calendar takes it."""

    key: int
    name: str
    when: due.When
    is_gaming: bool = False


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A window in one night. ``x`` and ``width`` are of a thousand, ``lane`` counts schedules."""

    key: int
    name: str
    words: str
    x: int
    width: int
    lane: int
    is_gaming: bool

    @property
    def y(self) -> int:
        """Where its lane lies in the picture of the night."""
        return ROOM + LANE * self.lane


@dataclass(frozen=True, kw_only=True)
class Night:
    """One night with its windows in order, and the height of its picture."""

    label: str
    slots: tuple[Slot, ...]
    height: int
    ticks: tuple[int, ...] = TICKS


def nights(schedules: Iterable[Timed], *, now: datetime, zone: ZoneInfo) -> tuple[Night, ...]:
    """Return the coming night and the six after it; first the one that is, while it has more."""
    local, known = now.astimezone(zone), list(enumerate(schedules))
    today = local.date()
    first = today - DAY if local.hour < NOON and _has_more(known, now, zone) else today
    days = [first + number * DAY for number in range(NIGHTS)]
    names = {today: "Tonight", today - DAY: "This night"}
    return tuple(_night(day, known, zone, names.get(day, "")) for day in days)


def _has_more(schedules: Iterable[tuple[int, Timed]], now: datetime, zone: ZoneInfo) -> bool:
    """Tell whether something is due, or under way, until noon."""
    noon = _noon(now.astimezone(zone).date(), zone)
    return any(_slots(each, lane, now, noon, zone) for lane, each in schedules)


def _night(day: date, schedules: Sequence[tuple[int, Timed]], zone: ZoneInfo, name: str) -> Night:
    start, end = _noon(day, zone), _noon(day + DAY, zone)
    slots = [slot for lane, each in schedules for slot in _slots(each, lane, start, end, zone)]
    slots.sort(key=lambda slot: (slot.x, slot.lane))
    return Night(
        label=name or f"{day:%a} {day.day} {day:%b}",
        slots=tuple(slots),
        height=max(1, len(schedules)) * LANE + ROOM + ROOM // 2,
    )


def _noon(day: date, zone: ZoneInfo) -> datetime:
    # Two moments of one zone would be subtracted by their clocks.
    return datetime.combine(day, time(NOON), tzinfo=zone).astimezone(UTC)


def _slots(timed: Timed, lane: int, start: datetime, end: datetime, zone: ZoneInfo) -> list[Slot]:
    try:
        windows = list(due.windows_between(timed.when, start, end))
    except ValueError:
        # It is told as a problem that it cannot be read.
        return []
    return [_slot(timed, lane, window, start, end, zone) for window in windows]


def _slot(
    timed: Timed, lane: int, window: due.Window, start: datetime, end: datetime, zone: ZoneInfo
) -> Slot:
    begin = _place(window.opens_at, start, end)
    until = _place(window.closes_at or window.opens_at, start, end)
    return Slot(
        key=timed.key,
        name=timed.name,
        words=_words(window, zone),
        x=min(begin, WIDTH - LEAST_WIDTH),
        width=max(LEAST_WIDTH, until - begin),
        lane=lane,
        is_gaming=timed.is_gaming,
    )


def _place(moment: datetime, start: datetime, end: datetime) -> int:
    share = (moment - start) / (end - start)
    return round(WIDTH * min(1.0, max(0.0, share)))


def _words(window: due.Window, zone: ZoneInfo) -> str:
    begin = f"{window.opens_at.astimezone(zone):%H:%M}"
    return f"{begin} to {window.closes_at.astimezone(zone):%H:%M}" if window.closes_at else begin
