"""Tells the hub how a pull stands, for every job that wants it."""

import threading
import time
from datetime import UTC, datetime

from workers.engines.tally import Tally
from workers.store import Store, StoreDown
from workers.wire import PullCause, PullOrder, PullPhase, PullProgress

# The hub takes a job for lost after 30 s without a report.
REPORT_MOST_S = 5.0
# Each report is a write here, and two or three at the hub: bytes are told each two seconds, what
# else is new sooner.
BYTES_EVERY_S = 2.0
REPORT_LEAST_S = 0.5
CANCEL_EVERY_S = 0.4


class Reporter:
    """The jobs behind one pull: which want it still, and what they were told last."""

    def __init__(self, order: PullOrder, *, store: Store, tally: Tally) -> None:
        self._store = store
        self._tally = tally
        # Orders join from other threads.
        self._joining = threading.Lock()
        self._orders = {order.job_id: order}
        self._is_closed = False
        self._asked_at = float("-inf")
        self._told_at = float("-inf")
        self._told: tuple[object, ...] | None = None

    def join(self, order: PullOrder) -> bool:
        """Take in another job, or a newer attempt of one; tell whether the pull still runs."""
        with self._joining:
            if self._is_closed:
                return False
            known = self._orders.get(order.job_id, order)
            self._orders[order.job_id] = max(known, order, key=lambda order: order.attempt)
            # Whoever joins is told at once.
            self._told = None
            return True

    def drop_cancelled(self) -> bool:
        """Let go of cancelled jobs, and tell whether one is left that wants the pull.

        Where none is left, none may join any more, and ``finish`` tells the last ones.
        """
        if time.monotonic() - self._asked_at < CANCEL_EVERY_S:
            return True
        self._asked_at = time.monotonic()
        with self._joining:
            jobs = list(self._orders)
        # Asking takes a while, in which others may join: they were not asked about.
        cancelled = {job for job in jobs if not self._is_wanted(job)}
        with self._joining:
            self._is_closed = self._orders.keys() <= cancelled
            gone = [] if self._is_closed else [self._orders.pop(job) for job in cancelled]
        for order in gone:
            self._store.send(self._progress(order, "cancelled"))
        return not self._is_closed

    def report_if_due(self, phase: PullPhase, *, reason: str | None = None) -> None:
        """Report news at most every half second, bytes alone every two, and no news every five."""
        news = (phase, reason, self._tally.total_bytes, self._tally.done_bytes)
        with self._joining:
            since_s = time.monotonic() - self._told_at
            if since_s < _patience_s(self._told, news):
                return
            self._told_at, self._told = time.monotonic(), news
            orders = list(self._orders.values())
        for order in orders:
            self._store.send(self._progress(order, phase, reason=reason))

    def finish(
        self,
        phase: PullPhase,
        *,
        reason: str | None = None,
        retry: bool = False,
        cause: PullCause | None = None,
    ) -> list[PullProgress]:
        """Report the end to all jobs, let none join any more, and return what was said."""
        with self._joining:
            self._is_closed = True
            orders = list(self._orders.values())
        told = {"reason": reason, "retry": retry, "cause": cause}
        ends = [self._progress(order, phase).model_copy(update=told) for order in orders]
        for end in ends:
            self._store.send(end)
        return ends

    def leave(self) -> None:
        """Say nothing more, and let none join: another worker will go on."""
        with self._joining:
            self._is_closed = True

    def _is_wanted(self, job_id: int) -> bool:
        try:
            return not self._store.is_cancelled(job_id)
        except StoreDown:
            return True

    def _progress(
        self, order: PullOrder, phase: PullPhase, *, reason: str | None = None
    ) -> PullProgress:
        now = time.monotonic()
        is_loading = phase == "downloading"
        return PullProgress(
            node=order.node,
            sent_at=datetime.now(UTC),
            job_id=order.job_id,
            attempt=order.attempt,
            phase=phase,
            done_bytes=self._tally.done_bytes,
            total_bytes=self._tally.total_bytes,
            bytes_per_s=self._tally.bytes_per_s(now=now) if is_loading else None,
            remaining_s=self._tally.remaining_s(now=now) if is_loading else None,
            arrived_bytes=self._tally.arrived_bytes,
            found_bytes=self._tally.found_bytes,
            reason=reason,
        )


def _patience_s(told: tuple[object, ...] | None, news: tuple[object, ...]) -> float:
    if news == told:
        return REPORT_MOST_S
    is_bytes = told is not None and told[:-1] == news[:-1]
    return BYTES_EVERY_S if is_bytes else REPORT_LEAST_S
