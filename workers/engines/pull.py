"""One pull from its turn to its end: cancellation, stalls, disk, deadline and reconnects."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workers.backoff import Backoff
from workers.engines.blobs import find_damaged
from workers.engines.nearby import Nearby, clear_copies
from workers.engines.partials import clear_spoiled, may_be_spoiled
from workers.engines.reasons import (
    SPOILED,
    Circumstances,
    Reason,
    damaged_file,
    explain,
    nearly_full,
    short_of_disk,
    unverified,
)
from workers.engines.reporter import Reporter
from workers.engines.stream import End, PullStream
from workers.engines.tally import Tally
from workers.engines.watch import InstanceWatch
from workers.store import Store
from workers.wire import PullCause, PullOrder, PullPhase, PullProgress

# So often everything is looked at that may end a pull.
POLL_S = 0.2
# Ollama notices within half a second that its client has left; the next may come after this.
LEAVE_S = 2.0
# With less free space no pull begins: the machine itself needs some of it.
DISK_FLOOR_BYTES = 256 * 2**20

_BUSY = "Another pull runs on this server."
_CURED = "What an earlier download left behind could not go on and was deleted; it begins anew."
_SPOILED = "What an earlier download left behind cannot go on, and is to be deleted."
_BLOCKED = "Another program's pull of the same files hangs on {url}. Restart Ollama there."

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a pull counts as stuck, and how often it is begun again before it has failed.

    Ollama itself gives up after 64 s without its registry, and says why; ``stall_s`` leaves it
    the time to do so; so long a pull waits for a server that another program blocks.
    ``near_stall_s`` is for a machine of the lab that gives what it has.
    ``futile_s`` is for a part that fails and is fetched again for ever.
    ``reconnects`` counts those in a row that brought no byte.
    """

    stall_s: float = 90.0
    near_stall_s: float = 30.0
    futile_s: float = 1800.0
    reconnects: int = 4
    pause_first_s: float = 2.0
    pause_most_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a pull ended; ``interrupted``: this worker is to end, and another will go on."""

    phase: Literal["installed", "failed", "cancelled", "interrupted"]
    reason: str | None = None
    retry: bool = False
    cause: PullCause | None = None


class Turn:
    """Who may pull on an instance: one at a time, or a real server may die."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lingering: PullStream | None = None

    def take(self, *, wait_s: float) -> bool:
        """Wait for the turn; tell whether it was given."""
        if not self._lock.acquire(timeout=wait_s):
            return False
        if self._lingering is not None and self._lingering.is_open:
            self._lock.release()
            time.sleep(wait_s)
            return False
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether a pull that was given up may not be left, since that would kill the server."""
        stream = self._lingering
        return stream is not None and stream.is_open and stream.is_headless

    def give_back(self, stream: PullStream | None) -> None:
        """Let the next one in, once ``stream`` is closed."""
        self._lingering = stream
        self._lock.release()


class Pull:
    """Pulls one model on one instance."""

    def __init__(
        self,
        order: PullOrder,
        *,
        watch: InstanceWatch,
        store: Store,
        stopping: threading.Event,
        limits: Limits,
    ) -> None:
        self._order = order
        self._watch = watch
        self._stopping = stopping
        self._limits = limits
        self._tally = Tally(now=time.monotonic())
        self.reporter = Reporter(order, store=store, tally=self._tally)
        self._stream: PullStream | None = None
        self._phase: PullPhase = "waiting"
        self._deadline = float("inf")
        self._begun_at = 0.0
        self._checked_bytes: int | None = None
        self._failures = 0
        self._advanced_at = 0.0
        self._is_cured = False
        self._is_unverified = False
        self._nearby = (
            Nearby(order.origin, order.model, watch, job_id=order.job_id) if order.origin else None
        )

    def run(self, turn: Turn) -> list[PullProgress]:
        """Wait for the turn, pull, and return what the jobs were told at the end."""
        outcome = self._wait_for(turn)
        if outcome is None:
            try:
                outcome = self._pull_nearby(self._nearby) if self._nearby else self._pull_far()
            finally:
                turn.give_back(self._stream)
        log.info(
            "pull ended job=%d model=%s phase=%s reason=%s",
            self._order.job_id,
            self._order.model,
            outcome.phase,
            outcome.reason,
        )
        if outcome.phase == "interrupted":
            self.reporter.leave()
            return []
        return self.reporter.finish(
            outcome.phase, reason=outcome.reason, retry=outcome.retry, cause=outcome.cause
        )

    # --- waiting and trying --------------------------------------------------------------------

    def _wait_for(self, turn: Turn) -> Outcome | None:
        free_at = time.monotonic()
        while not turn.take(wait_s=POLL_S):
            if outcome := self._is_to_end():
                return outcome
            if not turn.is_blocked:
                free_at = time.monotonic()
            elif time.monotonic() - free_at > self._limits.stall_s:
                return _failed(self._blocked())
            reason = self._blocked().text if turn.is_blocked else _BUSY
            self.reporter.report_if_due("waiting", reason=reason)
        return None

    def _blocked(self) -> Reason:
        return Reason(text=_BLOCKED.format(url=self._watch.spec.url), retry=True, cause="busy")

    def _pull_nearby(self, nearby: Nearby) -> Outcome:
        """Pull from within the lab; what fails is tried elsewhere by the hub."""
        self.reporter.report_if_due("starting")
        nearby.clear()
        if reason := nearby.reach():
            return _failed(reason)
        outcome = self._pull()
        if outcome.phase == "installed" and (reason := nearby.adopt()):
            return _failed(reason)
        return outcome

    def _pull_far(self) -> Outcome:
        outcome = self._pull()
        if outcome.phase == "installed":
            # It may have come whole from within the lab before, under a name of which nobody knew.
            clear_copies(self._watch)
        return outcome

    def _pull(self) -> Outcome:
        self._deadline = time.monotonic() + self._order.deadline_s
        limits = self._limits
        pauses = Backoff(first_s=limits.pause_first_s, most_s=limits.pause_most_s)
        while True:
            if full := self._has_no_room():
                return full
            with self._streaming() as stream:
                outcome = self._follow(stream)
            if isinstance(outcome, Outcome):
                return outcome
            if self._nearby and (gone := self._nearby.reach()):
                # The hub knows other sources; what has come stays.
                return _failed(gone)
            if self._count_failure() == 1:
                pauses.reset()
            if self._failures > limits.reconnects:
                return _failed(outcome)
            log.warning("pull broken off model=%s reason=%s", self._order.model, outcome.text)
            pauses.put_off()
            if ended := self._rest(pauses, outcome):
                return ended

    def _count_failure(self) -> int:
        """Count in a row, from one again where the last attempt brought bytes."""
        has_advanced = self._tally.advanced_at > self._advanced_at
        self._advanced_at = self._tally.advanced_at
        self._failures = 1 if has_advanced else self._failures + 1
        return self._failures

    def _rest(self, pauses: Backoff, why: Reason) -> Outcome | None:
        while not pauses.is_due:
            time.sleep(POLL_S)
            if outcome := self._is_to_end():
                return outcome
            self.reporter.report_if_due(self._phase, reason=why.text)
        return None

    @contextmanager
    def _streaming(self) -> Iterator[PullStream]:
        self._begun_at = time.monotonic()
        self._tally.begin_again(now=self._begun_at)
        name = self._nearby.name if self._nearby else self._order.model
        stream = self._watch.engine.pull(
            name, read_s=self._order.deadline_s, insecure=self._nearby is not None
        )
        self._stream = stream
        try:
            yield stream
        finally:
            stream.leave()
            stream.join(wait_s=LEAVE_S)

    # --- one answer of the server --------------------------------------------------------------

    def _follow(self, stream: PullStream) -> Outcome | Reason:
        """Follow an answer to its end; a ``Reason`` is what another attempt may mend."""
        while True:
            item = stream.next(wait_s=POLL_S)
            if isinstance(item, End):
                return self._judge(item)
            if item is not None:
                self._tally.add(item, now=time.monotonic())
            self._phase = self._tally.phase
            if found := self._is_to_end() or self._lacks_disk() or self._is_stuck(stream):
                return found
            self.reporter.report_if_due(self._phase)

    def _judge(self, end: End) -> Outcome | Reason:
        if end.kind == "success":
            return self._check() if self._is_unverified else Outcome(phase="installed")
        if self._tally.phase == "verifying" and end.kind != "error":
            self._is_unverified = True
        if end.text.strip() == SPOILED and (cured := self._cure()):
            return cured
        reason = explain(end, self._circumstances())
        has_answered = self._failures > 0 or self._tally.total_bytes is not None
        if end.kind == "cut" or (end.kind == "refused" and has_answered):
            return reason
        return _failed(reason)

    def _cure(self) -> Reason | None:
        """Delete, once, what keeps a pull from going on, where that lies here and may be done."""
        disk = self._watch.disk()
        if disk is None or self._is_cured:
            return None
        store = Path(disk.path)
        try:
            count = clear_spoiled(store)
            is_to_wait = not count and may_be_spoiled(store)
        except OSError as error:
            log.info("remains of a pull not deleted store=%s error=%s", store, error)
            return None
        self._is_cured = count > 0
        if count:
            log.warning("remains of pulls deleted store=%s blobs=%d", store, count)
        if is_to_wait:
            return Reason(text=_SPOILED, retry=True)
        return Reason(text=_CURED, retry=True) if count else None

    def _check(self) -> Outcome:
        """Hash what Ollama was about to hash when it went away: it never does that again."""
        disk = self._watch.disk()
        damaged = None
        if disk is not None:
            layers = self._tally.layers
            damaged = find_damaged(Path(disk.path), layers, is_wanted=self._is_still_wanted)
        if damaged is None:
            return Outcome(phase="installed", reason=unverified(self._order.model))
        if damaged:
            return _failed(damaged_file(self._order.model, path=damaged[0]))
        return Outcome(phase="installed")

    def _is_still_wanted(self) -> bool:
        self.reporter.report_if_due("verifying")
        return self._is_to_end() is None

    def _circumstances(self) -> Circumstances:
        disk = self._watch.disk()
        return Circumstances(
            model=self._order.model,
            url=self._watch.spec.url,
            version=self._watch.read().version,
            store=disk.path if disk else None,
        )

    def _has_no_room(self) -> Outcome | None:
        """Look before the server is asked: others may have filled the disk between attempts."""
        self._checked_bytes = None
        disk = self._watch.disk()
        if disk is not None and disk.free_bytes < DISK_FLOOR_BYTES:
            return _failed(nearly_full(free_bytes=disk.free_bytes, path=disk.path))
        return self._lacks_disk()

    def _lacks_disk(self) -> Outcome | None:
        """Compare what is to come with what is free, whenever another layer becomes known."""
        total = self._tally.total_bytes
        if total == self._checked_bytes:
            return None
        self._checked_bytes = total
        disk, missing = self._watch.disk(), self._tally.missing_bytes
        keep = self._order.keep_free_bytes
        if disk is None or not missing or missing <= disk.free_bytes - keep:
            return None
        return _failed(
            short_of_disk(
                missing_bytes=missing, free_bytes=disk.free_bytes, keep_bytes=keep, path=disk.path
            )
        )

    def _is_stuck(self, stream: PullStream) -> Outcome | Reason | None:
        now, tally = time.monotonic(), self._tally
        if tally.phase not in {"starting", "downloading"}:
            return None
        advanced_at = max(tally.advanced_at, self._begun_at)
        is_futile = now - advanced_at > self._limits.futile_s
        if now - tally.gained_at <= self._stall_s and not is_futile:
            return None
        if stream.is_headless:
            return _failed(self._blocked())
        whence = self._order.origin.giver if self._order.origin else "the registry"
        return Reason(text=f"Nothing more comes from {whence}.", retry=True, cause="stalled")

    @property
    def _stall_s(self) -> float:
        """After how long without a byte its source is looked for again."""
        limits, is_near = self._limits, self._nearby is not None and self._nearby.is_sure
        return min(limits.stall_s, limits.near_stall_s) if is_near else limits.stall_s

    def _is_to_end(self) -> Outcome | None:
        if self._stopping.is_set():
            return Outcome(phase="interrupted")
        if time.monotonic() > self._deadline:
            hours = self._order.deadline_s / 3600
            return _failed(
                Reason(text=f"It was not done in {hours:.1f} h.", retry=True, cause="slow")
            )
        if self.reporter.drop_cancelled():
            return None
        is_late = self._phase in {"verifying", "finishing"}
        late = "All files had arrived, so the model may appear all the same."
        return Outcome(phase="cancelled", reason=late if is_late else None)


def _failed(reason: Reason) -> Outcome:
    return Outcome(phase="failed", reason=reason.text, retry=reason.retry, cause=reason.cause)
