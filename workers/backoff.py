"""Growing pauses between attempts."""

import time


class Backoff:
    """Doubles the pause at each failure, up to a most; times are of the monotonic clock."""

    def __init__(self, *, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self.reset()

    def reset(self) -> None:
        """Begin again: the next attempt is due at once."""
        self._pause_s = self._first_s
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the pause after the last failure is over."""
        return time.monotonic() >= self._due_at

    def put_off(self) -> None:
        """Count a failure."""
        self._due_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._most_s)
