"""Which nodes are served and how often they report, with a real store and real HTTP servers."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from tests.workers.fake_ollama import FakeOllama, fake_ollama
from tests.workers.stores import OwnStore, own_store
from workers.config import NodeConfig
from workers.nodewatch import WAIT_S
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import HUB_NODE, Inventory, Sample, spec_key, watched_key

GIB = 2**30


class Bench:
    """A worker's telemetry, started by the test, beside a store of the test's own."""

    def __init__(self, server: OwnStore, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack

    def start(self, slug: str, *urls: str, hardware: str = "auto") -> Telemetry:
        environ = {"REDIS_URL": self.server.url, "LABDASH_OLLAMA_URLS": ",".join(urls)}
        environ["LABDASH_HARDWARE"] = hardware
        config = NodeConfig.from_env(environ, node=slug)
        store = Store(self.server.url, slug=slug)
        telemetry = Telemetry(config, store)
        telemetry.start()
        self._stack.callback(store._client.close)
        self._stack.callback(wait_for_threads)
        self._stack.callback(telemetry.stop)
        return telemetry

    def fake(self) -> FakeOllama:
        return self._stack.enter_context(fake_ollama())

    def serve_agentless(self, nodes: dict[str, str]) -> None:
        specs = [agentless(slug, url) for slug, url in nodes.items()]
        self.server.client.set(f"node:{HUB_NODE}:nodes", json.dumps(specs))

    def samples(self, worker: str, node: str | None = None) -> list[Sample]:
        reports = self.server.reports(worker)
        found = [report for report in reports if isinstance(report, Sample)]
        return [sample for sample in found if sample.node == (node or worker)]

    def inventories(self, worker: str) -> list[Inventory]:
        return [r for r in self.server.reports(worker) if isinstance(r, Inventory)]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def agentless(slug: str, url: str) -> dict[str, Any]:
    return {
        "slug": slug,
        "instances": [{"name": "ollama", "url": url}],
        "declared": {
            "ram_total_bytes": 64 * GIB,
            "gpus": [{"name": "M2 Max", "memory_total_bytes": 48 * GIB, "unified": True}],
        },
    }


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(("probe-", "node-", "telemetry")):
            thread.join(20)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with own_store() as server, ExitStack() as stack:
        yield Bench(server, stack)


def test_a_node_reports_its_machine_and_its_servers_soon_after_the_start(bench: Bench) -> None:
    fake = bench.fake()
    bench.start("rog", fake.url)
    bench.wait_for(lambda: bench.samples("rog"))

    sample = bench.samples("rog")[0]
    assert sample.host.ram_total_bytes
    assert [(i.name, i.state, i.version) for i in sample.instances] == [("ollama", "ok", "0.32.15")]
    assert sample.worker_version


class SlowMachine(BaseHTTPRequestHandler):
    """Hardware that takes longer to be read than a sample waits for it."""

    def do_GET(self) -> None:
        time.sleep(WAIT_S * 2)
        answer = b'{"driver": {"state": "ok", "version": "580.1"}, "gpus": [], "host": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        pass


def test_the_first_sample_waits_for_hardware_that_is_slow_to_read(bench: Bench) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowMachine) as machine:
        threading.Thread(target=machine.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{machine.server_port}"
        bench.start("rog", bench.fake().url, hardware=f"simulated:{url}")
        bench.wait_for(lambda: bench.samples("rog"))
        machine.shutdown()

    assert bench.samples("rog")[0].driver.version == "580.1"


def test_samples_come_every_five_seconds_and_each_second_while_somebody_looks(
    bench: Bench,
) -> None:
    bench.start("rog", bench.fake().url)
    bench.wait_for(lambda: len(bench.samples("rog")) >= 2)
    bench.server.client.set(watched_key("rog"), 1, ex=60)
    bench.wait_for(lambda: len(bench.samples("rog")) >= 6)

    moments = [sample.sent_at.timestamp() for sample in bench.samples("rog")]
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert gaps[0] > 4
    assert median(gaps[-3:]) < 3


def test_the_hub_may_change_what_is_served(bench: Bench) -> None:
    first, second = bench.fake(), bench.fake()
    second.version = "0.24.0"
    bench.server.client.set(watched_key("rog"), 1)
    bench.start("rog", first.url)
    bench.wait_for(lambda: bench.samples("rog"))
    spec = {"slug": "rog", "instances": [{"name": "other", "url": second.url}]}
    bench.server.client.set(spec_key("rog"), json.dumps(spec))

    def newest() -> list[tuple[str, str | None]]:
        return [(i.name, i.version) for i in bench.samples("rog")[-1].instances]

    bench.wait_for(lambda: newest() == [("other", "0.24.0")])
    bench.server.client.delete(spec_key("rog"))
    count = len(bench.samples("rog"))
    bench.wait_for(lambda: len(bench.samples("rog")) >= count + 2)
    assert newest() == [("other", "0.24.0")]


def test_a_wish_that_is_not_understood_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.client.set(watched_key("rog"), 1)
    bench.server.client.set(spec_key("rog"), '{"slug": "rog", "instances": [{"name": "x"}]}')
    bench.start("rog", bench.fake().url)
    bench.wait_for(lambda: len(bench.samples("rog")) >= 2)

    assert [i.name for i in bench.samples("rog")[-1].instances] == ["ollama"]
    assert caplog.text.count("wish of the hub not understood") == 1


BAD_ADDRESSES = ("http://a..b:1", "http://[::1", "http://host:99999", "http://a\x00b:1")


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_a_bad_address_is_reported_and_keeps_nothing_else_from_being_served(
    bench: Bench, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    good = bench.fake().url
    bench.server.client.set(watched_key("rog"), 1)
    instances = [{"name": "bad", "url": url}, {"name": "good", "url": good}]
    bench.server.client.set(spec_key("rog"), json.dumps({"slug": "rog", "instances": instances}))
    telemetry = bench.start("rog", good)

    def newest() -> dict[str, str]:
        samples = bench.samples("rog")
        return {i.name: i.state for i in samples[-1].instances} if samples else {}

    bench.wait_for(lambda: newest() == {"bad": "error", "good": "ok"})
    bad = next(i for i in bench.samples("rog")[-1].instances if i.name == "bad")
    assert (bad.url, bad.reason) == (
        url.replace("\x00", " "),
        "this address cannot be used; write one like http://127.0.0.1:11434",
    )
    assert repr(url) in caplog.text
    bench.server.client.set(spec_key("rog"), json.dumps({"slug": "rog", "instances": []}))
    bench.wait_for(lambda: newest() == {})
    watch = telemetry.find("rog")
    assert watch
    assert watch.find(url) is None


def test_a_bad_address_of_one_agentless_node_leaves_the_others_served(bench: Bench) -> None:
    bench.serve_agentless({"attic": "http://a..b:1", "studio": bench.fake().url})
    bench.start(HUB_NODE)
    bench.wait_for(lambda: bench.samples(HUB_NODE, "studio") and bench.samples(HUB_NODE, "attic"))

    states = [bench.samples(HUB_NODE, s)[-1].instances[0].state for s in ("attic", "studio")]
    assert states == ["error", "ok"]


def test_a_node_reports_under_no_other_name(bench: Bench) -> None:
    bench.server.client.set(watched_key("rog"), 1)
    bench.server.client.set(spec_key("rog"), json.dumps(agentless("tower", "http://127.0.0.1:1")))
    bench.start("rog", bench.fake().url)
    bench.wait_for(lambda: len(bench.samples("rog")) >= 2)

    assert {report.node for report in bench.server.reports("rog")} == {"rog"}


def test_the_inventory_is_told_at_the_start_and_when_asked_for(bench: Bench) -> None:
    fake = bench.fake()
    fake.install("qwen3:8b", "c0" * 32, "ab" * 32)
    telemetry = bench.start("rog", fake.url)
    bench.wait_for(lambda: bench.inventories("rog"))
    watch = telemetry.find("rog")
    assert watch
    watch.refresh()
    bench.wait_for(lambda: len(bench.inventories("rog")) == 2)

    assert [m.name for m in bench.inventories("rog")[0].models] == ["qwen3:8b"]


def test_all_agentless_nodes_are_served_with_what_was_declared_of_them(bench: Bench) -> None:
    fake = bench.fake()
    bench.serve_agentless({"studio": fake.url, "attic": "http://127.0.0.1:1"})
    bench.start(HUB_NODE)
    bench.wait_for(lambda: bench.samples(HUB_NODE, "studio") and bench.samples(HUB_NODE, "attic"))

    studio = bench.samples(HUB_NODE, "studio")[0]
    attic = bench.samples(HUB_NODE, "attic")[0]
    assert [(gpu.uuid, gpu.source) for gpu in studio.gpus] == [("declared-studio-0", "declared")]
    assert studio.driver.state == "none"
    assert [(i.state, i.home) for i in studio.instances] == [("ok", "remote")]
    assert [i.state for i in attic.instances] == ["refused"]


def test_a_dead_node_does_not_delay_the_others(bench: Bench) -> None:
    fake = bench.fake()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}"
        bench.serve_agentless({"dead": dead, "studio": fake.url})
        for slug in ("dead", "studio"):
            bench.server.client.set(watched_key(slug), 1)
        bench.start(HUB_NODE)
        bench.wait_for(lambda: len(bench.samples(HUB_NODE, "studio")) >= 5)

        counts = [len(bench.samples(HUB_NODE, slug)) for slug in ("dead", "studio")]
        state = bench.samples(HUB_NODE, "dead")[-1].instances[0].state
    assert counts[0] >= 4
    assert state == "timeout"


def test_agentless_nodes_come_and_go_as_the_hub_wants(bench: Bench) -> None:
    fake = bench.fake()
    telemetry = bench.start(HUB_NODE)
    assert telemetry.find("studio") is None
    bench.serve_agentless({"studio": fake.url})
    assert telemetry.find("studio")
    bench.serve_agentless({"attic": fake.url})

    assert telemetry.find("studio") is None
    assert telemetry.find("attic")


def test_new_declared_hardware_is_reported_as_it_is_now(bench: Bench) -> None:
    fake = bench.fake()
    bench.serve_agentless({"studio": fake.url})
    bench.server.client.set(watched_key("studio"), 1)
    bench.start(HUB_NODE)
    bench.wait_for(lambda: bench.samples(HUB_NODE, "studio"))
    spec = agentless("studio", fake.url)
    spec["declared"]["ram_total_bytes"] = 128 * GIB
    bench.server.client.set(f"node:{HUB_NODE}:nodes", json.dumps([spec]))

    bench.wait_for(lambda: bench.samples(HUB_NODE, "studio")[-1].host.ram_total_bytes == 128 * GIB)


def test_sampling_goes_on_when_a_store_comes_back(bench: Bench) -> None:
    bench.server.client.set(watched_key("rog"), 1)
    bench.start("rog", bench.fake().url)
    bench.wait_for(lambda: bench.samples("rog"))
    bench.server.stop()
    time.sleep(3)
    bench.server.start()

    bench.wait_for(lambda: bench.samples("rog"))


def test_without_a_store_at_the_start_the_node_reports_once_there_is_one(bench: Bench) -> None:
    bench.server.stop()
    bench.start("rog", bench.fake().url)
    time.sleep(2)
    bench.server.start()

    bench.wait_for(lambda: bench.samples("rog") and bench.inventories("rog"))
