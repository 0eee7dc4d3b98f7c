"""Read the streams of reports and hand each to the domain, in a thread of the hub worker.

How far each stream was read is kept in the store beside the streams: a hub that was down goes on
where it stopped, and a store that forgot everything is read from its new beginning.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connections
from django.db import close_old_connections as close_stale_connections
from django.utils import timezone

from labdash import live
from labdash.domain.library import record_inventory
from labdash.domain.progress import record_progress
from labdash.domain.telemetry import record_sample
from labdash.models import Node
from labdash.reports import Arrival, BadReport, newest, parse
from workers import wire

log = logging.getLogger(__name__)

IDS_KEY = "hub:intake:ids"
BLOCK_MS = 1000
# Above BLOCK_MS, or each quiet second would be a time-out.
SOCKET_TIMEOUT_S = 5.0
ENTRIES_A_STREAM = 200
ALIVE_FOR_S = 10
# Slightly under 5 and 10 s, so that a sample every 5 s is stored every time, and every second time.
STORE_EVERY_S = 4.5
HISTORY_EVERY_S = 9.5
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# What no later try can store: too long, out of range, not to be encoded.
_UNSTORABLE = (DataError, IntegrityError, ValueError, OverflowError)
_PASSING = (redis.RedisError, live.StoreDown, OperationalError, InterfaceError, OSError)


class Intake:
    """Reads until it is stopped, whatever happens to the store or the database."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str]] = Counter()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stored_at: dict[str, float] = {}
        self._history_at: dict[str, float] = {}
        self._understood: set[str] = set()
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        )

    def start(self) -> None:
        """Begin reading in a thread."""
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for what is in hand."""
        self._stop.set()
        if self._thread:
            self._thread.join(SOCKET_TIMEOUT_S)

    def read_once(self, *, block_ms: int = BLOCK_MS) -> int:
        """Wait for reports, apply them, remember how far; return how many entries were read."""
        sources = _sources()
        ids: dict[Any, Any] = self._client.hgetall(IDS_KEY)
        streams: dict[Any, Any] = {key: ids.get(key, "0") for key in sources}
        found = self._client.xread(streams, count=ENTRIES_A_STREAM, block=block_ms)
        entries = dict(_pairs(found))
        pipe = self._client.pipeline(transaction=False)
        if entries:
            self._apply(self._parse_all(entries, sources, self._store_clock()))
            pipe.hset(IDS_KEY, mapping={key: read[-1][0] for key, read in entries.items()})
        # Only now: before that, nodes whose reports wait here look silent.
        pipe.set(live.INTAKE_ALIVE_KEY, 1, ex=ALIVE_FOR_S)
        pipe.execute()
        return sum(map(len, entries.values()))

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                close_stale_connections()
                self.read_once()
                pause_s = FIRST_PAUSE_S
                continue
            except _PASSING as error:
                log.warning("intake waits %.1f s: %s", pause_s, error)
            except Exception:
                # Nothing else reads reports: whatever it was, the next round may do better.
                log.exception("intake failed, goes on in %.1f s", pause_s)
            self._stop.wait(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        connections.close_all()

    def _store_clock(self) -> timedelta:
        """Return what must be added to the store's clock, which dates entries, for the hub's."""
        seconds, micros = self._client.time()
        return timezone.now() - datetime.fromtimestamp(seconds + micros / 1e6, tz=UTC)

    def _parse_all(
        self,
        entries: dict[str, list[tuple[str, dict[str, str]]]],
        sources: dict[str, set[str]],
        clock: timedelta,
    ) -> list[Arrival]:
        arrivals = []
        for key, read in entries.items():
            for entry_id, fields in read:
                try:
                    arrivals.append(parse(entry_id, fields, nodes=sources[key], clock=clock))
                except BadReport as error:
                    self._reject(key, error)
        return arrivals

    def _apply(self, arrivals: list[Arrival]) -> None:
        """Apply what still matters. Pages see the newest samples even if the database fails."""
        kept = newest(arrivals)
        for arrival in kept:
            if isinstance(arrival.report, wire.Sample):
                live.save_state(arrival.report, arrived_at=arrival.at)
                self._note_understood(arrival.report.node)
        for arrival in kept:
            try:
                self._record(arrival.report, arrival.at)
            except _UNSTORABLE as error:
                self._reject(arrival.report.node, BadReport(f"cannot be stored: {error}"))

    def _record(self, report: Any, at: datetime) -> None:
        if isinstance(report, wire.Sample):
            self._record_sample(report, at)
        elif isinstance(report, wire.Inventory):
            if not record_inventory(report, arrived_at=at):
                self._reject(report.node, BadReport("inventory of an unknown instance"))
        else:
            record_progress(report, arrived_at=at)

    def _record_sample(self, sample: wire.Sample, at: datetime) -> None:
        now = time.monotonic()
        if now - self._stored_at.get(sample.node, -STORE_EVERY_S) < STORE_EVERY_S:
            return
        with_history = now - self._history_at.get(sample.node, -HISTORY_EVERY_S) >= HISTORY_EVERY_S
        record_sample(sample, arrived_at=at, with_history=with_history)
        self._stored_at[sample.node] = now
        if with_history:
            self._history_at[sample.node] = now

    def _note_understood(self, slug: str) -> None:
        if slug not in self._understood:
            live.note_protocol(slug, None)
            self._understood.add(slug)

    def _reject(self, source: str, error: BadReport) -> None:
        """Count a report that is no use, and log the first of its kind."""
        if error.node and error.protocol is not None:
            live.note_protocol(error.node, error.protocol)
            self._understood.discard(error.node)
        kind = (source, error.kind)
        self.rejected[kind] += 1
        if self.rejected[kind] == 1:
            log.warning("report rejected source=%s: %s", source, error)


def _pairs(found: Any) -> Iterable[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Read the answer of XREAD: a list of pairs in RESP2, a dict of lists in RESP3, or nothing."""
    if not found:
        return []
    if isinstance(found, dict):
        return [(key, read[0]) for key, read in found.items()]
    return list(found)


def _sources() -> dict[str, set[str]]:
    """Return the streams, each with the nodes that it may speak of."""
    sources: dict[str, set[str]] = {wire.reports_key(wire.HUB_NODE): set()}
    for slug, agentless in Node.objects.values_list("slug", "agentless"):
        speaker = wire.HUB_NODE if agentless else slug
        sources.setdefault(wire.reports_key(speaker), set()).add(slug)
    return sources


_running: list[Intake] = []


def start_intake(**_: object) -> None:
    """Begin to read when the hub worker can work."""
    intake = Intake()
    intake.start()
    _running.append(intake)


def stop_intake(**_: object) -> None:
    """Stop when the hub worker is asked to end."""
    while _running:
        _running.pop().stop()


worker_ready.connect(start_intake)
worker_shutting_down.connect(stop_intake)
