"""A look for Ollama servers, beside servers of every kind on addresses of loopback."""

import json
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.processes import eventually
from tests.workers.fake_ollama import fake_ollama
from tests.workers.stores import OwnStore, own_store
from workers.engines.find import Finder, FindLimits
from workers.store import Store
from workers.subnets import Plan
from workers.wire.finding import FindOrder, Found
from workers.wire.keys import find_wish_key, found_key

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answer(body: bytes, head: bytes = OK) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Scripted(socketserver.ThreadingTCPServer):
    """Answers whatever is asked with bytes, or as it is told to."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def __init__(
        self, address: str, port: int, say: bytes | Callable[[socket.socket], None]
    ) -> None:
        super().__init__((address, port), Handler)
        self.say = say
        self.asked: list[bytes] = []
        self.at = (address, int(self.server_address[1]))


class Handler(socketserver.BaseRequestHandler):
    """One connection to a scripted server."""

    def handle(self) -> None:
        """Read a request and answer it."""
        server: Any = self.server
        with suppress(OSError):
            server.asked.append(self.request.recv(4096))
            if isinstance(server.say, bytes):
                self.request.sendall(server.say)
            else:
                server.say(self.request)


@contextmanager
def scripted(
    say: bytes | Callable[[socket.socket], None], *, at: str, port: int = 0
) -> Iterator[Scripted]:
    with Scripted(at, port, say) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def limits(**fields: float) -> FindLimits:
    """Return limits that wait for no resolver."""
    return FindLimits(name_s=0.02, **fields)


@dataclass
class FindBench:
    """A finder with a store of the test's own, which asks what ``plan`` says."""

    server: OwnStore
    store: Store
    plan: Plan = field(default_factory=Plan)
    limits: FindLimits = field(default_factory=limits)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.finder = self.make()

    def make(self) -> Finder:
        return Finder(
            store=self.store, stopping=self.stopping, plan=lambda: self.plan, limits=self.limits
        )

    def order(self) -> FindOrder:
        """Leave a wish as the hub does, and return the order."""
        find_id = secrets.token_hex(16)
        self.server.client.set(find_wish_key(), find_id, ex=10)
        return FindOrder(find_id=find_id)

    def found(self) -> Found | None:
        text: Any = self.server.client.get(found_key())
        return Found.model_validate_json(text) if text else None

    def look(self, *targets: tuple[str, int], own: frozenset[str] = frozenset()) -> Found:
        self.plan = Plan(targets=targets, own=own)
        self.finder.carry_out(self.order())
        found = self.found()
        assert found
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[OwnStore]:
    """One store for all."""
    with own_store() as made:
        yield made


@pytest.fixture
def bench(server: OwnStore) -> FindBench:
    """A finder and an empty store."""
    server.client.flushall()
    return FindBench(server, Store(server.url, slug="@hub"))


def unused() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ollama_is_found_with_its_version_among_addresses_where_nothing_listens(
    bench: FindBench,
) -> None:
    port = unused()
    empty = [(f"127.0.1.{n}", port) for n in range(1, 200)]
    with fake_ollama() as fake, scripted(answer(b'{"version":"0.9.1"}'), at="127.0.0.77") as other:
        near = ("127.0.0.1", int(fake.url.rpartition(":")[2]))
        found = bench.look(*empty, near, other.at, own=frozenset({"127.0.0.1"}))
        assert [path for path, _, _ in fake.calls] == ["/api/version"]
    assert (found.state, found.looked_at, found.total) == ("ended", 201, 201)
    told = {each.address: (each.port, each.version, each.is_own) for each in found.servers}
    assert told == {
        "127.0.0.1": (near[1], "0.32.15", True),
        "127.0.0.77": (other.at[1], "0.9.1", False),
    }
    assert other.asked[0].startswith(b"GET /api/version HTTP/1.1\r\n")
    assert len(other.asked) == 1
    assert 500 < bench.server.client.ttl(found_key()) <= 600
    assert not bench.server.client.exists(find_wish_key())


STRANGERS = {
    "a page": answer(b"<html><body>router</body></html>"),
    "another json": answer(b'{"name":"printer"}'),
    "a list": answer(b'["0.9.1"]'),
    "a number as version": answer(b'{"version":1}'),
    "an empty version": answer(b'{"version":""}'),
    "half a json": answer(b'{"version":"0.9'),
    "deep json": answer(b"[" * 1000),
    "bytes": b"\x00\xff\xfe" * 300,
    "nothing": b"",
    "not found": answer(b'{"version":"0.9.1"}', b"HTTP/1.1 404 Not Found\r\n"),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    "a huge answer": answer(b'{"version":"' + b"9" * 5_000_000 + b'"}'),
    "huge headers": OK + b"X: " + b"y" * 5_000_000 + b"\r\n\r\n{}",
    "a bad length": OK + b"Content-Length: -5\r\n\r\n{}",
    "a compressed answer": answer(b"\x1f\x8b\x08\x00", OK + b"Content-Encoding: gzip\r\n"),
}


@pytest.mark.parametrize("said", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_ollama_is_not_taken_for_one(bench: FindBench, said: bytes) -> None:
    with scripted(said, at="127.0.0.78") as stranger:
        found = bench.look(stranger.at)
    assert (found.state, found.looked_at, found.servers) == ("ended", 1, ())


def test_a_redirect_is_not_followed(bench: FindBench) -> None:
    with scripted(answer(b'{"version":"0.9.1"}'), at="127.0.0.79") as other:
        place = f"http://127.0.0.79:{other.at[1]}/api/version".encode()
        head = b"HTTP/1.1 302 Found\r\nLocation: " + place + b"\r\n"
        with scripted(answer(b"", head), at="127.0.0.80") as stranger:
            assert bench.look(stranger.at).servers == ()
        assert other.asked == []


@pytest.mark.parametrize("version", ["<b>1</b>", "x" * 400, "1\n2", "\x1b[31m", "\ud800", "1 2"])
def test_a_version_that_is_none_is_unknown(bench: FindBench, version: str) -> None:
    body = json.dumps({"version": version}).encode()
    with scripted(answer(body), at="127.0.0.81") as stranger:
        (found,) = bench.look(stranger.at).servers
    assert found.version is None


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, for ever."""
    connection.sendall(OK + b"Content-Length: 900\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("say", [drip, lambda _: time.sleep(30)], ids=["a slow drip", "silence"])
def test_who_does_not_come_to_an_end_is_left(bench: FindBench, say: Any) -> None:
    bench.limits = limits(connect_s=0.2, answer_s=0.3)
    bench.finder = bench.make()
    with scripted(say, at="127.0.0.82") as slow, fake_ollama() as fake:
        found = bench.look(slow.at, ("127.0.0.1", int(fake.url.rpartition(":")[2])))
    assert (found.state, found.looked_at) == ("ended", 2)
    assert len(found.servers) == 1


def test_a_look_ends_at_its_limit_with_what_it_has(bench: FindBench) -> None:
    bench.limits = limits(seconds=3, answer_s=10)
    bench.finder = bench.make()
    with scripted(drip, at="127.0.0.83") as slow, fake_ollama() as fake:
        near = ("127.0.0.1", int(fake.url.rpartition(":")[2]))
        found = bench.look(near, *[slow.at] * 70)
    assert (found.state, found.looked_at, found.total) == ("late", 1, 71)
    assert len(found.servers) == 1


def test_no_more_than_64_are_asked_at_once(bench: FindBench) -> None:
    bench.limits = limits(seconds=1, answer_s=10)
    bench.finder = bench.make()
    with scripted(drip, at="127.0.0.84") as slow:
        bench.look(*[slow.at] * 200)
        assert len(slow.asked) == 64


def test_it_is_told_meanwhile_and_ends_when_it_is_wanted_no_more(bench: FindBench) -> None:
    with scripted(drip, at="127.0.0.85") as slow, fake_ollama() as fake:
        near = ("127.0.0.1", int(fake.url.rpartition(":")[2]))
        bench.plan = Plan(targets=(near, *[slow.at] * 100))
        thread = threading.Thread(target=bench.finder.carry_out, args=[bench.order()])
        thread.start()
        assert eventually(lambda: bool((told := bench.found()) and told.servers))
        told = bench.found()
        assert told
        assert (told.state, told.total) == ("looking", 101)
        bench.server.client.delete(find_wish_key())
        thread.join(10)
    ended = bench.found()
    assert ended
    assert ended.state == "stopped"
    assert [server.port for server in ended.servers] == [server.port for server in told.servers]


def test_a_worker_that_is_stopped_says_so(bench: FindBench) -> None:
    bench.stopping.set()
    with scripted(drip, at="127.0.0.86") as slow:
        assert bench.look(slow.at).state == "stopped"


def test_an_order_that_comes_twice_or_too_late_asks_nobody(bench: FindBench) -> None:
    with scripted(answer(b'{"version":"0.9.1"}'), at="127.0.0.87") as other:
        bench.plan = Plan(targets=(other.at,))
        order = bench.order()
        bench.finder.carry_out(order)
        bench.finder.carry_out(order)
        assert len(other.asked) == 1
        newer = bench.order()
        bench.finder.carry_out(order)
        assert len(other.asked) == 1
        bench.finder.carry_out(newer)
        assert len(other.asked) == 2


def test_more_servers_than_a_page_can_show_are_told_as_more(bench: FindBench) -> None:
    with scripted(answer(b'{"version":"0.9.1"}'), at="0.0.0.0") as other:  # noqa: S104 - all of loopback
        found = bench.look(*[(f"127.0.2.{n}", other.at[1]) for n in range(1, 131)])
    assert len(found.servers) == 100
    assert found.has_more


def test_a_plan_without_addresses_ends_at_once(bench: FindBench) -> None:
    found = bench.look()
    assert (found.state, found.total, found.servers) == ("ended", 0, ())


def test_a_store_that_is_away_begins_nothing(bench: FindBench) -> None:
    with scripted(answer(b'{"version":"0.9.1"}'), at="127.0.0.88") as other:
        bench.plan = Plan(targets=(other.at,))
        order = bench.order()
        bench.store = Store("unix:///nowhere/store.sock?db=0", slug="@hub")
        bench.make().carry_out(order)
        assert other.asked == []
