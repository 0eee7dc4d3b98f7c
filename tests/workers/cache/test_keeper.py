"""The cache does what the hub writes to the store, and tells there how it stands."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.processes import eventually, free_port
from tests.workers.cache.bench import (
    MODEL,
    Bench,
    Registry,
    ahead,
    bench_of,
    digest_of,
    registry_running,
    spec,
)
from workers.cache.keeper import CacheStore, Keeper
from workers.cache.ports import Ports
from workers.wire import HUB_NODE
from workers.wire.caching import (
    EVERYTHING,
    CacheSpec,
    CacheState,
    drops_key,
    rechecks_key,
    spec_key,
    state_key,
)

LAYER = bytes(5000)


@dataclass
class Kept:
    bench: Bench
    keeper: Keeper
    ports: Ports
    client: redis.Redis

    def tell(self, wished: CacheSpec) -> CacheState:
        self.client.set(spec_key(), wished.model_dump_json())
        return self.step()

    def step(self) -> CacheState:
        self.keeper.step()
        return CacheState.model_validate_json(self.client.get(state_key()) or "")

    def fetch(self) -> CacheState:
        self.tell(spec(ahead=ahead()))

        def is_here() -> bool:
            self.keeper.ahead.step()
            return any(each.is_whole for each in self.step().models)

        assert eventually(is_here)
        return self.step()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with registry_running() as registry, bench_of(registry, tmp_path / "cache") as bench:
        registry.publish(MODEL, LAYER)
        yield from keeping(bench, free_port())


def keeping(bench: Bench, port: int) -> Iterator[Kept]:
    store = CacheStore(os.environ["REDIS_URL"], slug=HUB_NODE)
    ports = Ports(bench.cache, host="127.0.0.1", port=port)
    client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    yield Kept(bench, Keeper(bench.cache, store=store, ports=ports), ports, client)
    ports.close()
    store._client.close()
    client.close()


def test_without_wishes_nothing_is_open(kept: Kept) -> None:
    kept.keeper.step()
    assert (kept.ports.open, kept.client.get(state_key())) == ((), None)


def test_it_tells_what_it_holds_and_what_it_saved(kept: Kept) -> None:
    state = kept.fetch()
    (model,) = state.models
    assert (model.model, model.total_bytes, model.is_whole) == (MODEL, len(LAYER) + 2, True)
    assert (state.used_bytes, state.upstream_bytes, state.given_bytes) == (5002, 5002, 0)
    assert len(state.ports) == 1
    assert 0 < kept.client.ttl(state_key()) <= 10


def test_what_is_deleted_is_deleted_once_and_not_while_it_is_wanted(kept: Kept) -> None:
    kept.fetch()
    kept.client.sadd(drops_key(), MODEL, "../../etc", EVERYTHING)
    assert len(kept.step().models) == 1
    kept.client.sadd(drops_key(), MODEL)
    state = kept.tell(spec())
    assert (state.models, state.used_bytes) == ((), 0)
    assert kept.client.exists(drops_key()) == 0


def test_what_a_machine_complained_of_is_read_again(kept: Kept) -> None:
    kept.fetch()
    kept.bench.files.blob_path(digest_of(LAYER)).write_bytes(b"x" * 5000)
    kept.client.sadd(rechecks_key(), MODEL, "no model/../..")
    assert eventually(lambda: kept.step().used_bytes == 2)


def test_wishes_that_make_no_sense_leave_the_last_ones_in_force(kept: Kept) -> None:
    kept.fetch()
    for text in ("{}", "no JSON", '{"limit_bytes": -1, "keep_free_bytes": 0}'):
        kept.client.set(spec_key(), text)
        assert kept.step().ports
    kept.client.delete(spec_key())
    assert kept.step().ports
    assert kept.bench.cache.ahead


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with (
        registry_running() as registry,
        socket.create_server(("127.0.0.1", 0)) as taken,
        bench_of(registry, tmp_path / "cache") as bench,
    ):
        port = taken.getsockname()[1]
        for kept in keeping(bench, port):
            state = kept.tell(spec())
            assert (state.ports, state.errors) == ((), {str(port): "another program has it"})


def test_what_was_counted_outlives_a_restart(tmp_path: Path) -> None:
    registry = Registry()
    with bench_of(registry, tmp_path / "cache") as bench:
        bench.cache.count.came(100)
        bench.cache.count.gave("a", 300, 700)
        since = int(bench.cache.count.since)
    with bench_of(registry, tmp_path / "cache") as again:
        count = again.cache.count
        assert (count.upstream_bytes, count.given_bytes, count.since) == (100, 700, since)
        count.gave("a", 300, 50)
        assert count.saved_bytes == 450
        count.begins("a")
        count.gave("a", 300, 310)
        assert count.saved_bytes == 460
