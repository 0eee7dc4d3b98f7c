"""The newest state of each node and who is watching, in the store.

Every read answers ``None`` or raises ``StoreDown``; nothing waits longer than ``TIMEOUT_S``.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import redis
from django.conf import settings

from workers import wire

TIMEOUT_S = 1.0
# Long enough for a page that polls each second on a slow phone, short enough to end soon after.
WATCHED_FOR_S = 10
OTHER_PROTOCOLS_KEY = "hub:protocols"
INTAKE_ALIVE_KEY = "hub:intake:alive"
DATABASE_ERROR_KEY = "hub:intake:database"
# Above the longest wait for a locked database and the pause after it.
DATABASE_ERROR_FOR_S = 30
# Since when the intake has been storing what it shows already, in seconds since 1970.
RECORDING_KEY = "hub:intake:recording"
# Above the longest wait for a locked database.
RECORDING_FOR_S = 20
# No database that is well takes so long for some rows.
RECORDING_SLOW_S = 5.0
BEAT_ALIVE_KEY = "hub:beat:alive"
# Several ticks of its task, so that a worker that is busy for a moment is no news.
BEAT_ALIVE_FOR_S = 30
# Why nobody reaches the hub's cache of models, and since when it tells nothing.
CACHE_TROUBLE_KEY = "hub:cache:trouble"
CACHE_MISSING_KEY = "hub:cache:missing"
# Several ticks of what tends it.
CACHE_TROUBLE_FOR_S = 10
# Longer than its process takes to start, or to start again.
CACHE_MISSING_AFTER_S = 20.0
# The last entry that was read of each stream of reports.
READ_TO_KEY = "hub:intake:ids"


class StoreDown(Exception):  # noqa: N818 - named for the state that callers show
    """The store does not answer."""


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """The newest sample of a node and when it arrived here.

    ``rival`` is the machine of another worker that reports as this node too.
    """

    sample: wire.Sample
    arrived_at: datetime
    rival: str | None = None

    def age_s(self, now: datetime) -> float:
        """Seconds since arrival, by the hub's clock."""
        return max(0.0, (now - self.arrived_at).total_seconds())


@dataclass(frozen=True, kw_only=True)
class LiveLab:
    """What the store knows of the nodes, and of the hub's intake and scheduler.

    ``other_protocols`` holds the protocol version of workers that this hub does not understand.
    ``database_error`` is why the intake could last not store what it read, ``cache_trouble`` why
    the cache is on and serves nobody.
    """

    states: dict[str, NodeState]
    other_protocols: dict[str, int]
    intake_alive: bool
    database_error: str | None
    beat_alive: bool
    cache_trouble: str | None = None


@cache
def store() -> redis.Redis:
    """Return the client of this process; it connects when used and reconnects by itself."""
    client: redis.Redis = redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # A connection that a restart broke is made anew at once; a time-out is not repeated.
        retry=redis.retry.Retry(
            redis.backoff.NoBackoff(), 1, supported_errors=(redis.ConnectionError,)
        ),
    )
    return client


def database_number() -> int:
    """Return the number of the database in the store that this hub uses."""
    return int(store().connection_pool.connection_kwargs.get("db") or 0)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn every failure of the store into ``StoreDown``."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise StoreDown(str(error)) from error


def ping() -> None:
    """Raise ``StoreDown`` where the store does not answer or does not let us in."""
    with store_errors():
        store().ping()


def state_key(slug: str) -> str:
    """Name the hub's own key for a node's newest state."""
    return f"hub:state:{slug}"


def save_state(sample: wire.Sample, *, arrived_at: datetime, rival: str | None = None) -> None:
    """Keep the newest sample of a node."""
    told = sample.model_dump(mode="json")
    entry = {"arrived_at": arrived_at.isoformat(), "sample": told, "rival": rival}
    with store_errors():
        store().set(state_key(sample.node), json.dumps(entry))


def read_states(slugs: Iterable[str]) -> dict[str, NodeState]:
    """Return the newest state of each node that has one."""
    wanted = list(slugs)
    if not wanted:
        return {}
    with store_errors():
        entries = store().mget([state_key(slug) for slug in wanted])
    return _states(wanted, entries)


def read_live(slugs: Iterable[str]) -> LiveLab:
    """Return the newest of these nodes and of the hub itself, in one round trip."""
    wanted = list(slugs)
    with store_errors():
        pipe = store().pipeline(transaction=False)
        pipe.hgetall(OTHER_PROTOCOLS_KEY)
        pipe.exists(INTAKE_ALIVE_KEY)
        pipe.get(DATABASE_ERROR_KEY)
        pipe.get(RECORDING_KEY)
        pipe.exists(BEAT_ALIVE_KEY)
        pipe.get(CACHE_TROUBLE_KEY)
        for slug in wanted:
            pipe.get(state_key(slug))
        protocols, intake, database_error, recording, beat, cache, *entries = pipe.execute()
    others = {
        slug: int(number)
        for slug, number in protocols.items()
        if slug in set(wanted) and number.isdecimal()
    }
    is_stuck = recording is not None and time.time() - float(recording) > RECORDING_SLOW_S
    if is_stuck and not database_error:
        database_error = "it does not answer"
    return LiveLab(
        states=_states(wanted, entries),
        other_protocols=others,
        intake_alive=bool(intake) and not is_stuck,
        database_error=database_error,
        beat_alive=bool(beat),
        cache_trouble=cache,
    )


def note_beat() -> None:
    """Remember for ``BEAT_ALIVE_FOR_S`` that the scheduler gives the hub worker its tasks."""
    with store_errors():
        store().set(BEAT_ALIVE_KEY, 1, ex=BEAT_ALIVE_FOR_S)


def note_database_error(text: str) -> None:
    """Remember for ``DATABASE_ERROR_FOR_S`` why the database takes nothing: the first line."""
    reason = text.strip().partition("\n")[0].rstrip(".") or "it does not say why"
    with store_errors():
        store().set(DATABASE_ERROR_KEY, reason, ex=DATABASE_ERROR_FOR_S)


def note_recording() -> None:
    """Remember for ``RECORDING_FOR_S`` that the intake has begun to store what it read."""
    with store_errors():
        store().set(RECORDING_KEY, time.time(), ex=RECORDING_FOR_S)


def note_cache(*, is_there: bool, error: str) -> None:
    """Remember why the cache serves nobody: its port's ``error``, or that it is long silent."""
    with store_errors():
        if is_there:
            store().delete(CACHE_MISSING_KEY)
        elif store().set(CACHE_MISSING_KEY, time.time(), nx=True, ex=3600) is None:
            since = float(store().get(CACHE_MISSING_KEY) or time.time())
            error = "its process does not run" if _is_long(since) else ""
        if error:
            store().set(CACHE_TROUBLE_KEY, error, ex=CACHE_TROUBLE_FOR_S)


def _is_long(since: float) -> bool:
    return time.time() - since > CACHE_MISSING_AFTER_S


def note_protocol(slug: str, other: int | None) -> None:
    """Remember that a node's worker speaks another protocol, or forget it."""
    with store_errors():
        if other is None:
            store().hdel(OTHER_PROTOCOLS_KEY, slug)
        else:
            store().hset(OTHER_PROTOCOLS_KEY, slug, str(other))


def _states(slugs: Iterable[str], entries: Iterable[str | bytes | None]) -> dict[str, NodeState]:
    parsed = {slug: _parse(entry) for slug, entry in zip(slugs, entries, strict=True) if entry}
    return {slug: state for slug, state in parsed.items() if state is not None}


def _parse(entry: str | bytes) -> NodeState | None:
    """Read a state; ``None`` where another version wrote it another way."""
    try:
        fields = json.loads(entry)
        arrived_at = datetime.fromisoformat(fields["arrived_at"]).astimezone(UTC)
        sample, rival = wire.Sample.model_validate(fields["sample"]), fields.get("rival")
        return NodeState(sample=sample, arrived_at=arrived_at, rival=rival)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def mark_watched(slugs: Iterable[str]) -> None:
    """Tell the workers of these nodes that somebody looks, for the next ``WATCHED_FOR_S``."""
    with store_errors():
        pipe = store().pipeline(transaction=False)
        for slug in slugs:
            pipe.set(wire.watched_key(slug), 1, ex=WATCHED_FOR_S)
        pipe.execute()


def forget_node(slug: str) -> None:
    """Delete what the store holds of a removed node, but the flags that stop its last jobs."""
    with store_errors():
        names = list(store().scan_iter(match=f"node:{slug}:*", count=1000))
        kept = f"node:{slug}:cancel:"
        store().hdel(OTHER_PROTOCOLS_KEY, slug)
        # A node of that name that is added later has a stream with ids of its own.
        store().hdel(READ_TO_KEY, wire.reports_key(slug))
        store().delete(state_key(slug), *(name for name in names if not name.startswith(kept)))
