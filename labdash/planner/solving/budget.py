"""What a search may still use: seconds and nodes of the search tree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labdash.planner.solving.program import Outcome


class Spent(Exception):  # noqa: N818 - no error: the search ends
    """The search has used up its time or its nodes."""


@dataclass(slots=True)
class Budget:
    """``clock`` counts seconds used. ``out_of_time``: the clock ended some part of the search."""

    limit_s: float
    nodes: int
    clock: Callable[[], float]
    out_of_time: bool = False

    @contextmanager
    def share(self, part: float) -> Iterator[None]:
        """Leave only a part of the seconds that are left while the block runs."""
        whole, used = self.limit_s, self.clock()
        self.limit_s = used + (whole - used) * part
        try:
            yield
        finally:
            self.limit_s = whole

    def limits(self) -> tuple[float, int]:
        """Tell what the next run may use. Raises ``Spent``."""
        left = self.limit_s - self.clock()
        self.out_of_time |= left <= 0
        if left <= 0 or self.nodes <= 0:
            raise Spent
        return left, self.nodes

    def is_left(self) -> bool:
        """Whether there is time for anything more."""
        left = self.clock() < self.limit_s
        self.out_of_time |= not left
        return left

    def count(self, outcome: Outcome) -> None:
        """Take off what a run has used."""
        self.nodes -= max(1, outcome.nodes)
        self.out_of_time |= outcome.ended == "time"
