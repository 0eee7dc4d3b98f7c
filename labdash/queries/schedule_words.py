"""A schedule as a sentence, and cron's five fields as a time of the day with days of the week."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Protocol

from cronsim import CronSim, CronSimError

from labdash.queries.due import When

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORKDAYS, WEEKEND = frozenset(range(5)), frozenset((5, 6))
_SIMPLE = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* (\S+)")
# Names that a sentence lists before it counts.
MOST_NAMED = 3
EVEN = 2


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A time of the day on days of the week, Monday is 0; all of them for each day."""

    at: time
    days: frozenset[int]


class Told(When, Protocol):
    """What a sentence is made of."""

    @property
    def what(self) -> str:
        """As ``ScheduleWhat`` has it."""

    @property
    def model_names(self) -> Sequence[str]:
        """What is pulled where ``what`` is models."""

    @property
    def nodes(self) -> Sequence[str]:
        """Names of nodes and tags, none for all."""

    @property
    def at_once(self) -> int | None:
        """How many nodes at the same time."""

    @property
    def updates(self) -> str:
        """As ``UpdateRule`` has it."""

    @property
    def catch_up(self) -> bool:
        """Whether a time that was missed is made good."""


def cron_of(at: time, days: Collection[int]) -> str:
    """Write a time of the day in cron's five fields. No days are all of them."""
    picked = sorted({(day + 1) % 7 for day in days})
    which = "*" if len(picked) in {0, 7} else ",".join(map(str, picked))
    return f"{at.minute} {at.hour} * * {which}"


def simple_of(cron: str) -> Simple | None:
    """Read five fields as a time of the day, None where they say more than that."""
    match = _SIMPLE.fullmatch(" ".join(cron.split()))
    if match is None:
        return None
    try:
        found = CronSim(cron, datetime(2026, 1, 1))  # noqa: DTZ001 - only read, in no zone
    except CronSimError:
        return None
    days = [day for day in found.weekdays if isinstance(day, int)]
    if len(days) < len(found.weekdays):
        return None
    at = time(int(match[2]), int(match[1]))
    return Simple(at=at, days=frozenset((day - 1) % 7 for day in days))


def sentence(told: Told, *, home_zone: str) -> str:
    """Say what a schedule does. ``home_zone`` goes without saying."""
    parts = [_act(told), when_words(told), *_end(told)]
    if told.zone != home_zone:
        parts.append(f"({told.zone} time)")
    rest = [*_at_once(told), *_updates(told), *_missed(told)]
    return " ".join([f"{' '.join(parts)}.", *rest])


def when_words(told: When) -> str:
    """Say when it begins."""
    simple = simple_of(told.cron)
    if simple is not None:
        return f"{_days(simple.days)} at {simple.at:%H:%M}"
    try:
        words = CronSim(told.cron, datetime(2026, 1, 1)).explain()  # noqa: DTZ001 - as above
    except CronSimError:
        return f"by {told.cron}, which is no time"
    return words[:1].lower() + words[1:]


def listed(names: Sequence[str]) -> str:
    """List some names, and count the others."""
    if len(names) > MOST_NAMED + 1:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} others"
    if len(names) < EVEN:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _act(told: Told) -> str:
    where = listed(told.nodes)
    if told.what == "gpus":
        return f"Gives the GPUs of {where or 'all machines'} back to their owner"
    place = where or "all machines"
    if told.what == "installed":
        return f"Looks for newer versions of everything installed on {place}"
    if told.what == "plan":
        return f"Pulls what the plan needs{f' on {where}' if where else ''}"
    return f"Pulls {listed(told.model_names)} to {place}"


def _days(days: Collection[int]) -> str:
    if len(days) in {0, 7}:
        return "every day"
    if days == WORKDAYS:
        return "from Monday to Friday"
    if days == WEEKEND:
        return "on Saturdays and Sundays"
    return f"on {listed([f'{DAY_NAMES[day]}s' for day in sorted(days)])}"


def _end(told: Told) -> Iterator[str]:
    if told.until is None:
        return
    simple = simple_of(told.cron)
    if simple is not None and told.until <= simple.at:
        yield f"until {told.until:%H:%M} the next day"
    else:
        yield f"until {told.until:%H:%M}"


def _at_once(told: Told) -> Iterator[str]:
    if told.at_once and told.what != "gpus":
        yield "One machine at a time." if told.at_once == 1 else f"{told.at_once} machines at once."


def _updates(told: Told) -> Iterator[str]:
    if told.what == "gpus":
        return
    if told.updates == "take":
        yield "Newer versions are pulled."
    elif told.updates == "ask":
        yield "Newer versions are only told of."


def _missed(told: Told) -> Iterator[str]:
    if told.catch_up and told.what != "gpus":
        yield "If the hub was off, it is made good."


def clock_words(moment: datetime, now: datetime) -> str:
    """Write a moment of the next days by its clock, in the zone of ``moment``."""
    days = (moment.date() - now.astimezone(moment.tzinfo).date()) // timedelta(days=1)
    if days == 0:
        return f"today at {moment:%H:%M}"
    if days == 1:
        return f"tomorrow at {moment:%H:%M}"
    far = "" if 0 < days < 7 else f" {moment.day} {moment:%B}"  # noqa: PLR2004 - a week
    return f"{DAY_NAMES[moment.weekday()]}{far} at {moment:%H:%M}"
