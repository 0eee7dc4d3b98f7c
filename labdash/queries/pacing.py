"""How fast pulls may be, and how a limit is held by letting them rest in turns. Pure.

Ollama cannot limit itself. So a pull runs until what a limit allows in ten minutes has come, and
then rests until the mean is right. A rest is shorter than the hour after which a restart of
Ollama deletes what there is of a download.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

# Over so long the mean holds.
CYCLE_S = 600.0
# To begin a pull takes seconds, so a shorter turn would bring little.
LEAST_TURN_S = 20.0
LONGEST_REST_S = 3000.0
DAYS = range(7)


@dataclass(frozen=True, kw_only=True)
class SpeedWindow:
    """A limit by the clock: on ``days`` (0 is Monday) it opens at ``begins``.

    ``bytes_per_s``: ``None`` is no limit, 0 no pulls at all. One that ends before it begins ends
    on the next day.
    """

    days: frozenset[int]
    begins: time
    ends: time
    bytes_per_s: int | None

    def is_open(self, at: datetime) -> bool:
        """Tell whether a moment by the wall clock lies in it."""
        today, yesterday = at.weekday(), (at - timedelta(days=1)).weekday()
        now = at.time()
        if self.begins < self.ends:
            return today in self.days and self.begins <= now < self.ends
        is_late = today in self.days and now >= self.begins
        return is_late or (yesterday in self.days and now < self.ends)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How long a pull has been running, and what has come meanwhile."""

    age_s: float
    arrived_bytes: int


def read_windows(stored: object) -> tuple[SpeedWindow, ...]:
    """Read windows as they are stored; what is none of them is left out."""
    rows = stored if isinstance(stored, list) else []
    return tuple(window for row in rows if (window := _read_window(row)) is not None)


def write_windows(windows: Iterable[SpeedWindow]) -> list[dict[str, object]]:
    """Write windows as they are stored."""
    return [
        {
            "days": sorted(each.days),
            "from": f"{each.begins:%H:%M}",
            "to": f"{each.ends:%H:%M}",
            "bytes_per_s": each.bytes_per_s,
        }
        for each in windows
    ]


def limit_at(
    at: datetime, *, bytes_per_s: int | None, windows: Iterable[SpeedWindow]
) -> int | None:
    """Return the limit of the lab at a moment by the wall clock; of open windows, the lowest."""
    limits = [window.bytes_per_s for window in windows if window.is_open(at)]
    return lowest(limits) if limits else bytes_per_s


def share_of(limit: int | None, sharers: int) -> int | None:
    """Return what one of several pulls may take of a limit."""
    return limit if limit is None else limit // max(1, sharers)


def lowest(limits: Iterable[int | None]) -> int | None:
    """Return the lowest of limits, ``None`` being none."""
    return min((limit for limit in limits if limit is not None), default=None)


def rest_s(turn: Turn, *, limit: int | None) -> float:
    """Return how long a pull must rest now, 0 to let it go on.

    A limit of 0 is no matter of turns: then there are none.
    """
    if not limit or turn.age_s < LEAST_TURN_S or turn.arrived_bytes < limit * CYCLE_S:
        return 0.0
    return min(LONGEST_REST_S, max(0.0, turn.arrived_bytes / limit - turn.age_s))


def _read_window(row: Any) -> SpeedWindow | None:
    if not isinstance(row, Mapping):
        return None
    try:
        limit = row["bytes_per_s"]
        return SpeedWindow(
            days=frozenset(int(day) for day in row["days"]) & frozenset(DAYS),
            begins=time.fromisoformat(row["from"]),
            ends=time.fromisoformat(row["to"]),
            bytes_per_s=None if limit is None else max(0, int(limit)),
        )
    except (KeyError, TypeError, ValueError):
        return None
