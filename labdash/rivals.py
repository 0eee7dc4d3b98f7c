"""Two workers that report as one node: each hides what the other sees."""

import time
from dataclasses import dataclass

from workers import wire

# Several samples of both.
TOLD_FOR_S = 30.0


@dataclass(frozen=True)
class _Worker:
    id: str
    hostname: str


class Rivals:
    """Tells a node's worker that was started anew, which never comes back, from two at once."""

    def __init__(self) -> None:
        self._newest: dict[str, _Worker] = {}
        self._before: dict[str, _Worker] = {}
        self._noticed_at: dict[str, float] = {}

    def note(self, sample: wire.Sample) -> None:
        """Take in a sample; they come in order."""
        node, newest = sample.node, self._newest.get(sample.node)
        if not sample.worker_id or (newest and newest.id == sample.worker_id):
            return
        before = self._before.get(node)
        if before and before.id == sample.worker_id:
            self._noticed_at[node] = time.monotonic()
        self._newest[node] = _Worker(sample.worker_id, sample.host.hostname or "another machine")
        if newest:
            self._before[node] = newest

    def of(self, sample: wire.Sample) -> str | None:
        """Return where another worker runs that reports as this sample's node, by host name."""
        noticed_at = self._noticed_at.get(sample.node)
        if noticed_at is None or time.monotonic() - noticed_at > TOLD_FOR_S:
            return None
        both = (self._newest.get(sample.node), self._before.get(sample.node))
        return next((each.hostname for each in both if each and each.id != sample.worker_id), None)
