"""Read the streams of reports and hand each to the domain, in a thread of the hub worker.

How far each stream was read is kept in the store beside the streams: a hub that was down goes on
where it stopped, and a store that forgot everything is read from its new beginning. Whatever a
node writes, its entries are passed and those of the others are read.
"""

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connections
from django.db import close_old_connections as close_stale_connections
from django.utils import timezone

from labdash import live
from labdash.domain.applying import note_progress
from labdash.domain.history import LATE_FOR, Moment, moment_of
from labdash.domain.library import record_inventory
from labdash.domain.loads import record_load
from labdash.domain.naming import record_name
from labdash.domain.progress import record_progress
from labdash.domain.sharing import record_share
from labdash.domain.telemetry import record_sample
from labdash.models import Node
from labdash.reports import Arrival, BadReport, arrived_at, newest, parse
from labdash.rivals import Rivals
from workers import wire

log = logging.getLogger(__name__)

BLOCK_MS = 1000
# Above BLOCK_MS, or each quiet second would be a time-out.
SOCKET_TIMEOUT_S = 5.0
ENTRIES_A_STREAM = 200
# A stream of 2000 samples takes some MB, and the store of a hub of its own holds 256. Above this,
# only the newest entries are kept, and all are read one by one.
LONG_STREAM_BYTES = 32 * 2**20
KEPT_OF_A_LONG_STREAM = 20
HIGHEST_SEQUENCE = 2**64 - 1
ALIVE_FOR_S = 10
# A running pull reports twice in so long: not each report is worth a write of its own.
ALIVE_EVERY_S = 1.0
TRIM_EVERY_S = 5.0
# Slightly under 5 s, so that a sample every 5 s is stored every time.
STORE_EVERY_S = 4.5
# So many moments are stored at once, although that time has not passed.
MOST_WAITING = 60
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# What no later try can store: too long, out of range, not to be encoded.
_UNSTORABLE = (DataError, IntegrityError, ValueError, OverflowError)
_PASSING = (redis.RedisError, live.StoreDown, OperationalError, InterfaceError, OSError)

type _Entries = dict[str, list[tuple[bytes, dict[bytes, bytes]]]]


@contextmanager
def _database_errors_told() -> Iterator[None]:
    """Let pages tell a database that takes nothing from a worker that is gone."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        live.note_database_error(str(error))
        raise


class Intake:
    """Reads until it is stopped, whatever happens to the store or the database."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str]] = Counter()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stored_at: dict[str, float] = {}
        self._trimmed_at: dict[str, float] = {}
        self._told_at = float("-inf")
        self._waiting: defaultdict[str, dict[datetime, Moment]] = defaultdict(dict)
        self._understood: set[str] = set()
        self._rivals = Rivals()
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
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

    @_database_errors_told()
    def read_once(self, *, block_ms: int = BLOCK_MS) -> int:
        """Wait for reports, apply them, remember how far; return how many entries were read."""
        sources = _sources()
        count = self._cut_long_streams(sources)
        entries = self._read(self._positions(sources), count, block_ms)
        pipe = self._client.pipeline(transaction=False)
        if entries:
            self._apply(self._parse_all(entries, sources, self._store_clock()))
        for key, found in entries.items():
            _pass(pipe, key, found[-1][0], is_to_trim=self._is_to_trim(key))
        # Only now: before that, nodes whose reports wait here look silent.
        now = time.monotonic()
        if now - self._told_at >= ALIVE_EVERY_S:
            pipe.set(live.INTAKE_ALIVE_KEY, 1, ex=ALIVE_FOR_S)
            pipe.delete(live.DATABASE_ERROR_KEY, live.RECORDING_KEY)
            self._told_at = now
        pipe.execute()
        return sum(map(len, entries.values()))

    def _is_to_trim(self, key: str) -> bool:
        """Tell whether what was read of a stream is to be deleted now, not at each report."""
        now = time.monotonic()
        if now - self._trimmed_at.get(key, -TRIM_EVERY_S) < TRIM_EVERY_S:
            return False
        self._trimmed_at[key] = now
        return True

    def _cut_long_streams(self, keys: Iterable[str]) -> int:
        """Keep streams from filling the store; return how many entries may be read of each."""
        streams = list(keys)
        pipe = self._client.pipeline(transaction=False)
        for key in streams:
            pipe.memory_usage(key, samples=0)
        sizes = zip(streams, pipe.execute(), strict=True)
        long = [key for key, size_bytes in sizes if (size_bytes or 0) > LONG_STREAM_BYTES]
        for key in long:
            # What is no stream is dealt with when it is read.
            with suppress(redis.ResponseError):
                self._client.xtrim(key, maxlen=KEPT_OF_A_LONG_STREAM, approximate=False)
        return 1 if long else ENTRIES_A_STREAM

    def _positions(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the last entry read of each stream."""
        ids: dict[bytes, bytes] = self._client.hgetall(live.READ_TO_KEY)  # type: ignore[assignment]  # not decoded
        return {key: ids.get(key.encode(), b"0") for key in keys}

    def _read(self, ids: dict[str, bytes], count: int, block_ms: int) -> _Entries:
        """Wait for entries after these; where a stream is none, read the others one by one."""
        streams: dict[Any, Any] = {**ids}
        try:
            return dict(_pairs(self._client.xread(streams, count=count, block=block_ms)))
        except redis.ResponseError:
            # The refusal came at once, and may come again.
            self._stop.wait(FIRST_PAUSE_S)
        found: _Entries = {}
        for key, entry_id in streams.items():
            try:
                found.update(_pairs(self._client.xread({key: entry_id}, count=count)))
            except redis.ResponseError as error:
                self._pass_by(key, error)
        return found

    def _pass_by(self, key: str, error: redis.ResponseError) -> None:
        """Leave out a stream that cannot be read; what stands in the place of one is deleted."""
        self._reject(key, BadReport("no stream that can be read", str(error)))
        if str(error).startswith("WRONGTYPE"):
            self._client.delete(key)
            self._client.hdel(live.READ_TO_KEY, key)

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
        self, entries: _Entries, sources: dict[str, set[str]], clock: timedelta
    ) -> list[Arrival]:
        now = timezone.now()
        arrivals = []
        for key, read in entries.items():
            for entry_id, fields in read:
                with self._rejecting(key):
                    report = parse(fields, nodes=sources[key])
                    at = arrived_at(entry_id, clock=clock, now=now)
                    arrivals.append(Arrival(report=report, at=at))
        return arrivals

    def _apply(self, arrivals: list[Arrival]) -> None:
        """Apply what still matters. Pages see the newest samples even if the database fails."""
        kept = newest(arrivals)
        self._collect(arrivals)
        self._each(kept, self._show)
        # Where that fails, or was said, is taken back as soon as all is stored.
        if any(isinstance(arrival.report, wire.Sample) for arrival in kept):
            self._told_at = float("-inf")
            live.note_recording()
        self._each(kept, self._record)

    def _each(
        self, arrivals: Iterable[Arrival], apply: Callable[[wire.Report, datetime], None]
    ) -> None:
        for arrival in arrivals:
            with self._rejecting(arrival.report.node):
                apply(arrival.report, arrival.at)

    def _collect(self, arrivals: list[Arrival]) -> None:
        """See who reports, and keep what history needs of each sample until it is stored."""
        oldest = timezone.now() - LATE_FOR
        for arrival in arrivals:
            with self._rejecting(arrival.report.node):
                if not isinstance(arrival.report, wire.Sample):
                    continue
                self._rivals.note(arrival.report)
                if arrival.at >= oldest:
                    moment = moment_of(arrival.report, at=arrival.at)
                    self._waiting[arrival.report.node][moment.at] = moment

    @contextmanager
    def _rejecting(self, source: str) -> Iterator[None]:
        """Reject the entry in hand for whatever is wrong with it, and let passing faults out."""
        try:
            yield
        except BadReport as error:
            self._reject(source, error)
        except _PASSING:
            raise
        except _UNSTORABLE as error:
            self._reject(source, BadReport("cannot be stored", str(error)))
        except Exception as error:  # noqa: BLE001 - one entry must not stop those of all nodes
            fault = BadReport(f"raised {type(error).__name__}", str(error))
            self._reject(source, fault, trace=error)

    def _show(self, report: wire.Report, at: datetime) -> None:
        if isinstance(report, wire.Sample):
            live.save_state(report, arrived_at=at, rival=self._rivals.of(report))
            self._note_understood(report.node)

    def _record(self, report: wire.Report, at: datetime) -> None:
        if isinstance(report, wire.Sample):
            self._record_sample(report, at)
        elif isinstance(report, wire.Inventory):
            if not record_inventory(report, arrived_at=at):
                raise BadReport("inventory of an unknown instance")
        elif isinstance(report, wire.LoadProgress):
            record_load(report, arrived_at=at)
        elif isinstance(report, wire.ApplyProgress):
            note_progress(report, arrived_at=at)
        elif isinstance(report, wire.ShareProgress):
            record_share(report, arrived_at=at)
        elif isinstance(report, wire.NameProgress | wire.ClearProgress):
            record_name(report, arrived_at=at)
        else:
            record_progress(report, arrived_at=at)

    def _record_sample(self, sample: wire.Sample, at: datetime) -> None:
        """Store a node's sample every ``STORE_EVERY_S``, with all that came since the last."""
        now = time.monotonic()
        is_early = now - self._stored_at.get(sample.node, -STORE_EVERY_S) < STORE_EVERY_S
        if is_early and len(self._waiting[sample.node]) < MOST_WAITING:
            return
        moments = self._waiting.pop(sample.node, {})
        try:
            record_sample(sample, arrived_at=at, moments=moments.values())
        except _PASSING:
            self._waiting[sample.node] = moments
            raise
        self._stored_at[sample.node] = now

    def _note_understood(self, slug: str) -> None:
        if slug not in self._understood:
            live.note_protocol(slug, None)
            self._understood.add(slug)

    def _reject(self, source: str, error: BadReport, *, trace: Exception | None = None) -> None:
        """Count a report that is no use, and log the first of its kind."""
        if error.node and error.protocol is not None:
            live.note_protocol(error.node, error.protocol)
            self._understood.discard(error.node)
        kind = (source, error.kind)
        self.rejected[kind] += 1
        if self.rejected[kind] == 1:
            log.warning("report rejected source=%s: %s", source, error, exc_info=trace)


def _pass(pipe: Any, key: str, entry_id: bytes, *, is_to_trim: bool) -> None:
    """Remember how far a stream was read, and delete what was where it is time.

    After the last id of all no entry can be added any more: such a stream begins anew.
    """
    milliseconds, sequence = map(int, entry_id.split(b"-"))
    if sequence < HIGHEST_SEQUENCE:
        pipe.hset(live.READ_TO_KEY, key, entry_id)
        if is_to_trim:
            pipe.xtrim(key, minid=f"{milliseconds}-{sequence + 1}", approximate=False)
    else:
        pipe.hdel(live.READ_TO_KEY, key)
        pipe.delete(key)


def _pairs(found: Any) -> Iterator[tuple[str, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """Read the answer of XREAD: a list of pairs in RESP2, a dict of lists in RESP3, or nothing."""
    if isinstance(found, dict):
        found = [(key, read[0]) for key, read in found.items()]
    for key, read in found or ():
        yield key.decode(), read


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
    # The scheduler, started beside this worker, has as long as ever until it is missed.
    with suppress(live.StoreDown):
        live.note_beat()


def stop_intake(**_: object) -> None:
    """Stop when the hub worker is asked to end."""
    while _running:
        _running.pop().stop()


worker_ready.connect(start_intake)
worker_shutting_down.connect(stop_intake)
