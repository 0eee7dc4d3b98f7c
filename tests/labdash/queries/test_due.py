"""When schedules are due: clocks that change, hubs that were off, windows across midnight."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, product
from zoneinfo import ZoneInfo

import pytest

from labdash.queries import due
from labdash.queries.due import Due, WhenError, Window

BERLIN = "Europe/Berlin"
NIGHTLY = "0 2 * * *"


@dataclass(frozen=True, kw_only=True)
class At:
    """When something is wanted."""

    cron: str = NIGHTLY
    zone: str = BERLIN
    until: time | None = time(6)


def utc(*parts: int) -> datetime:
    """Return a moment."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def window(when: At, after: datetime) -> tuple[str, str]:
    """Return the next window by the clock of its zone."""
    found = due.next_window(when, after)
    assert found is not None
    assert found.closes_at is not None
    zone = ZoneInfo(when.zone)
    begin, end = found.opens_at.astimezone(zone), found.closes_at.astimezone(zone)
    return f"{begin:%d %H:%M %z}", f"{end:%d %H:%M %z}"


@pytest.mark.parametrize(
    ("when", "after", "begin", "end"),
    [
        # On 29 March 2026 the clock jumps from 02:00 to 03:00, on 25 October back from 03:00.
        (At(), utc(2026, 11, 26), "26 02:00 +0100", "26 06:00 +0100"),
        (At(cron="0 23 * * *"), utc(2026, 11, 26), "26 23:00 +0100", "27 06:00 +0100"),
        (At(cron="0 6 * * *"), utc(2026, 11, 26), "26 06:00 +0100", "27 06:00 +0100"),
        (At(cron="30 2 * * *"), utc(2026, 3, 28, 12), "29 03:00 +0200", "29 06:00 +0200"),
        (At(until=time(2, 30)), utc(2026, 3, 28, 12), "29 03:00 +0200", "29 03:30 +0200"),
        (At(cron="30 2 * * *", until=time(3)), utc(2026, 3, 28, 12), "29 03:00 +0200",
         "29 03:30 +0200"),
        (At(cron="0 3 * * *", until=time(3)), utc(2026, 3, 28, 12), "29 03:00 +0200",
         "30 03:00 +0200"),
        (At(cron="0 1 * * *", until=time(2, 30)), utc(2026, 3, 28, 12), "29 01:00 +0100",
         "29 03:00 +0200"),
        (At(cron="30 2 * * *"), utc(2026, 10, 24, 12), "25 02:30 +0200", "25 06:00 +0100"),
        # From within the hour that comes again, the first of the two is over.
        (At(cron="30 2 * * *"), utc(2026, 10, 25, 1, 10), "26 02:30 +0100", "26 06:00 +0100"),
        (At(cron="0 1 * * *", until=time(2, 30)), utc(2026, 10, 24, 12), "25 01:00 +0200",
         "25 02:30 +0200"),
        (At(cron="0 1 * * 1"), utc(2026, 11, 26), "30 01:00 +0100", "30 06:00 +0100"),
    ],
)  # fmt: skip
def test_a_window_opens_and_closes_by_the_clock_of_its_zone(
    when: At, after: datetime, begin: str, end: str
) -> None:
    assert window(when, after) == (begin, end)


@pytest.mark.parametrize(
    "zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "America/St_Johns"]
)
def test_a_daily_window_opens_each_day_once_and_closes_within_a_day(zone: str) -> None:
    whens = [
        At(cron=f"{minute} {hour} * * *", zone=zone, until=until)
        for hour in (0, 1, 2, 3)
        for minute in (0, 30)
        for until in (time(2, 15), time(3), time(23))
    ]
    for when, start in product(whens, (utc(2026, 3, 1), utc(2026, 9, 28))):
        found = list(due.windows_between(when, start, start + timedelta(days=45)))
        days = [each.opens_at.astimezone(ZoneInfo(zone)).date() for each in found]
        assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))
        lengths = [each.closes_at - each.opens_at for each in found if each.closes_at]
        assert len(lengths) == len(found) >= 44
        assert all(timedelta(0) < length <= timedelta(hours=25) for length in lengths)


def decide(when: At, since: datetime, now: datetime, *, catch_up: bool = False) -> Due | None:
    """Decide what is due."""
    return due.decide(when, decided_to=since, now=now, catch_up=catch_up)


NIGHT = Window(opens_at=utc(2026, 11, 26, 1), closes_at=utc(2026, 11, 26, 5))
DUE_AT = NIGHT.opens_at
DAY_BEFORE = utc(2026, 11, 25, 12)


@pytest.mark.parametrize("catch_up", [True, False])
@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (utc(2026, 11, 26, 0, 59, 59), None),
        (utc(2026, 11, 26, 1, 0, 19), Due(due_at=DUE_AT, window=NIGHT)),
        # The hub came back while the window was still open.
        (utc(2026, 11, 26, 3), Due(due_at=DUE_AT, window=NIGHT, is_late=True)),
    ],
)
def test_what_is_due_begins_within_its_window(
    now: datetime, expected: Due | None, catch_up: bool
) -> None:
    assert decide(At(), DAY_BEFORE, now, catch_up=catch_up) == expected


def test_a_window_that_passed_is_missed_or_made_good_by_choice() -> None:
    now = utc(2026, 11, 28, 9)
    night = Window(opens_at=utc(2026, 11, 28, 1), closes_at=utc(2026, 11, 28, 5))
    missed = decide(At(), DAY_BEFORE, now)
    assert missed == Due(due_at=night.opens_at, window=night, is_missed=True, passed=2)
    made_good = decide(At(), DAY_BEFORE, now, catch_up=True)
    later = Window(opens_at=now, closes_at=now + timedelta(hours=4))
    assert made_good == Due(due_at=night.opens_at, window=later, is_late=True, passed=2)


def test_without_a_window_a_restart_is_not_too_late_and_an_afternoon_is() -> None:
    when = At(until=None)
    soon = decide(when, DAY_BEFORE, DUE_AT + timedelta(minutes=10))
    assert soon == Due(due_at=DUE_AT, window=Window(opens_at=DUE_AT))
    late = decide(when, DAY_BEFORE, DUE_AT + timedelta(hours=10))
    assert late is not None
    assert late.is_missed


def test_a_year_off_is_decided_at_once() -> None:
    when = At(cron="*/15 * * * *", until=None)
    found = decide(when, utc(2025, 11, 26), utc(2026, 11, 26, 12, 1))
    assert found is not None
    assert (found.due_at, found.passed > 700) == (utc(2026, 11, 26, 12), True)


@pytest.mark.parametrize(
    ("when", "line"),
    [
        (At(cron="* * * * *"), "That is too often: leave at least 15 minutes between two times."),
        (At(cron="0 0 31 2 *"), "0 0 31 2 * is no time: bad day-of-month."),
        (At(cron="0 2 * *"), ("Write five fields: minute, hour, day of the month, month, day of the"
         " week, such as 0 2 * * 1-5.")),
        (At(cron="0 0 2 * * *"), ("Write five fields: minute, hour, day of the month, month, day of"
         " the week, such as 0 2 * * 1-5.")),
        (At(cron="0 25 * * *"), "0 25 * * * is no time: bad hour."),
        (At(zone="Europe/Berln"), "'Europe/Berln' is no time zone: write one as Europe/Berlin."),
        (At(zone="../etc/passwd"), "'../etc/passwd' is no time zone: write one as Europe/Berlin."),
        (At(zone="Europe"), "'Europe' is no time zone: write one as Europe/Berlin."),
        (At(zone=""), "'' is no time zone: write one as Europe/Berlin."),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(when: At, line: str) -> None:
    with pytest.raises(WhenError) as refused:
        due.check(when)
    assert str(refused.value) == line


def test_the_open_window_is_among_those_between_two_moments() -> None:
    at_three = utc(2026, 11, 26, 2)
    found = list(due.windows_between(At(), at_three, at_three + timedelta(days=1)))
    assert [each.opens_at for each in found] == [DUE_AT, utc(2026, 11, 27, 1)]
