"""Why a pull must not run now. Pure: facts and a moment in, a sentence out."""

from dataclasses import dataclass
from datetime import datetime

HELD = "Paused by hand."
EARLY = "Waits for its window."
LATE = "Its window has ended."
CLOSED = "No pulls now: the speed limit is 0 at this time."
PACED = "Rests, so that the speed limit holds on average."
TRIES_AGAIN = "Is tried again soon."


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What keeps a job from running: a person, a window, its schedule, a limit, a failed try.

    ``is_closed``: no pull may run now. ``rest_until_at``: it was faster than its limit.
    """

    held: bool = False
    not_before_at: datetime | None = None
    not_after_at: datetime | None = None
    waits: str = ""
    retry_at: datetime | None = None
    is_closed: bool = False
    rest_until_at: datetime | None = None

    def is_retrying(self, now: datetime) -> bool:
        """Whether it waits for nothing but its next try."""
        return not self._outside(now) and _is_ahead(self.retry_at, now)

    def why(self, now: datetime) -> str:
        """Return the reason, empty where it may run."""
        return self._outside(now) or (TRIES_AGAIN if _is_ahead(self.retry_at, now) else "")

    def is_pacing(self, now: datetime) -> bool:
        """Whether it rests between two turns under a speed limit."""
        return _is_ahead(self.rest_until_at, now)

    def _outside(self, now: datetime) -> str:
        if self.held:
            return HELD
        if self.not_after_at is not None and self.not_after_at <= now:
            return LATE
        if _is_ahead(self.not_before_at, now):
            return EARLY
        if self.is_closed:
            return CLOSED
        return PACED if self.is_pacing(now) else self.waits


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now
