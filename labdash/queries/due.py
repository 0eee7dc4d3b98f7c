"""When schedules are due. Pure: what is wanted, and a moment, in; windows out.

Where clocks change: a time that does not exist is due when the clock has jumped, one that exists
twice is due once, the first time. A window ends when the clock first shows its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS = 5
LONGEST_CRON = 100
# More often than this would only ask the same again.
LEAST_APART = timedelta(minutes=15)
# A hub that is restarted, or busy, is not too late by this.
GRACE = timedelta(minutes=15)
# Of the times that passed while the hub was off.
MOST_COUNTED = 1000
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# How many times are looked at to see whether they are too close: an hour's, and some.
LOOKED_AT = 10


class WhenError(ValueError):
    """A time that cannot be meant. Its message is shown as it is."""


class When(Protocol):
    """What is said of when: five fields of cron, the zone of their clock, the window's end."""

    @property
    def cron(self) -> str:
        """Minute, hour, day of the month, month, day of the week."""

    @property
    def zone(self) -> str:
        """As the database of time zones names it."""

    @property
    def until(self) -> time | None:
        """The end of the window, None for no end."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """From when to when; ``closes_at`` is None where it never closes."""

    opens_at: datetime
    closes_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Due:
    """What to do about times that have come: run in ``window``, or note that it ``is_missed``.

    ``passed`` counts the times before it that came and went. ``is_late``: it was not on time.
    """

    due_at: datetime
    window: Window
    is_missed: bool = False
    is_late: bool = False
    passed: int = 0


def check(when: When) -> None:
    """Refuse what never comes, what comes all the time, and what cannot be read."""
    zone_of(when.zone)
    fields = when.cron.split()
    if len(fields) != FIELDS or len(when.cron) > LONGEST_CRON:
        raise WhenError(
            "Write five fields: minute, hour, day of the month, month, day of the week, such as"
            " 0 2 * * 1-5."
        )
    first = datetime(2026, 1, 1, tzinfo=UTC)
    try:
        times = list(islice(_openings(when, first), LOOKED_AT))
    except CronSimError as error:
        raise WhenError(f"{when.cron} is no time: {str(error).lower()}.") from None
    if not times:
        raise WhenError(f"{when.cron} never comes.")
    if any(later - earlier < LEAST_APART for earlier, later in pairwise(times)):
        raise WhenError("That is too often: leave at least 15 minutes between two times.")


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone. Raises ``WhenError``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise WhenError(f"{name[:60]!r} is no time zone: write one as Europe/Berlin.") from None


def next_window(when: When, after: datetime) -> Window | None:
    """Return the window that opens next after a moment; None where none ever will."""
    return next(_windows(when, after), None)


def closing(when: When, now: datetime) -> datetime | None:
    """Return when a window that is opened now closes."""
    return _window(when, now).closes_at


def windows_between(when: When, start: datetime, end: datetime) -> Iterator[Window]:
    """Yield the windows that open between two moments, and the one that is open at the first."""
    earlier = start - DAY
    for window in _windows(when, earlier - MINUTE):
        if window.opens_at >= end:
            return
        if window.opens_at >= start or (window.closes_at and window.closes_at > start):
            yield window


def decide(when: When, *, decided_to: datetime, now: datetime, catch_up: bool) -> Due | None:
    """Tell what is due of the times after ``decided_to``, the newest alone.

    A clock that was put back makes nothing due again.
    """
    times = _passed(when, decided_to, now)
    if not times:
        return None
    window = _window(when, times[-1])
    due = Due(due_at=times[-1], window=window, passed=len(times) - 1)
    late_by = now - window.opens_at
    is_open = window.closes_at is not None and now < window.closes_at
    if late_by <= GRACE and (is_open or window.closes_at is None):
        return due
    if is_open:
        return _late(due, window)
    if catch_up:
        length = window.closes_at and window.closes_at - window.opens_at
        return _late(due, Window(opens_at=now, closes_at=now + length if length else None))
    return Due(due_at=due.due_at, window=window, is_missed=True, passed=due.passed)


def _late(due: Due, window: Window) -> Due:
    return Due(due_at=due.due_at, window=window, is_late=True, passed=due.passed)


def _passed(when: When, after: datetime, now: datetime) -> list[datetime]:
    """Return the times after a moment until now; of very many the last of this week."""
    times = list(islice(_until(when, after, now), MOST_COUNTED))
    if len(times) < MOST_COUNTED:
        return times
    return list(islice(_until(when, max(after, now - 8 * DAY), now), MOST_COUNTED))


def _until(when: When, after: datetime, now: datetime) -> Iterator[datetime]:
    for moment in _openings(when, after):
        if moment > now:
            return
        yield moment


def _openings(when: When, after: datetime) -> Iterator[datetime]:
    """Yield the times after a moment, by UTC, each once."""
    last = after
    for local in CronSim(when.cron, after.astimezone(zone_of(when.zone))):
        moment = local.astimezone(UTC)
        # Several that do not exist come together when the clock has jumped; and to one that looks
        # from an hour that exists twice, the first of the two is over.
        if moment > last:
            last = moment
            yield moment


def _windows(when: When, after: datetime) -> Iterator[Window]:
    return (_window(when, moment) for moment in _openings(when, after))


def _window(when: When, opens_at: datetime) -> Window:
    if when.until is None:
        return Window(opens_at=opens_at)
    return Window(opens_at=opens_at, closes_at=_end(when, when.until, opens_at))


def _end(when: When, until: time, opens_at: datetime) -> datetime:
    zone = zone_of(when.zone)
    day = opens_at.astimezone(zone).date()
    end = _moment(day, until, zone)
    if end > opens_at:
        return end
    if end == opens_at and _has_jumped(opens_at, zone):
        # Maybe over all of it: it is as long as the next time.
        following = next(_openings(when, opens_at))
        return opens_at + (_end(when, until, following) - following)
    return _moment(day + DAY, until, zone)


def _has_jumped(moment: datetime, zone: ZoneInfo) -> bool:
    """Tell whether the clock has just left out some time."""
    now, before = (each.astimezone(zone).replace(tzinfo=None) for each in (moment, moment - MINUTE))
    return now - before > MINUTE


def _moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """Return when a clock first shows a time of a day, or has jumped over it."""
    local = datetime.combine(day, clock)
    while True:
        moment = local.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == local:
            return moment
        local += MINUTE
