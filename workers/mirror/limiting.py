"""A speed limit that all connections of a server share."""

import asyncio
import time
from collections.abc import Callable

# What was not used in so long is not made up for: a pause must not end in a burst.
BURST_S = 0.1
# So much goes through at once: a small part of a second, and never so little that calls dominate.
_PIECE_S = 0.05
_LEAST_PIECE_BYTES = 4 * 2**10
MOST_PIECE_BYTES = 4 * 2**20


class TokenBucket:
    """Lets ``bytes_per_s`` through in all, first come first served; ``None`` is no limit.

    Used in one event loop; ``bytes_per_s`` may be set at any time, from any thread.
    """

    def __init__(
        self,
        bytes_per_s: float | None,
        *,
        burst_s: float = BURST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._burst_s = burst_s
        self._clock = clock
        self._paid_until = float("-inf")

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once, so that many connections flow side by side."""
        if self.bytes_per_s is None:
            return MOST_PIECE_BYTES
        wished = int(self.bytes_per_s * _PIECE_S)
        return min(MOST_PIECE_BYTES, max(_LEAST_PIECE_BYTES, wished))

    async def take(self, size_bytes: int) -> None:
        """Wait until so much may go through."""
        wait_s = self.book(size_bytes)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def book(self, size_bytes: int) -> float:
        """Take so much now, and return the seconds after which it may go through."""
        rate = self.bytes_per_s
        if rate is None:
            return 0.0
        now = self._clock()
        begins_at = max(self._paid_until, now - self._burst_s)
        self._paid_until = begins_at + size_bytes / rate
        return begins_at - now
