"""Orders about models in memory, carried out on a simulated server over real HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.simlab import FAST, OllamaLab, ollama_lab
from tests.workers.engines.bench import wait_for_threads
from tests.workers.stores import OwnStore, own_store
from workers.config import NodeConfig
from workers.engines.loads import Loads
from workers.simlab.ollama.settings import Pace
from workers.simlab.ollama.weights import Weights, catalog_weights
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import LoadOrder, LoadProgress, load_cancel_key
from workers.wire.loads import LOAD_DEADLINE_S

MODEL, EMBEDS = "llama3.2:1b", "qwen3:0.6b"
SLOW = Pace(load_factor=60, unload_s=0.02)


class LoadBench:
    """A node's loads beside one simulated server."""

    def __init__(self, lab: OllamaLab, server: OwnStore, loads: Loads) -> None:
        self.lab, self.server, self.loads = lab, server, loads
        self.jobs = 0

    def pull(self, model: str) -> None:
        body = {"model": model, "stream": False}
        httpx.post(f"{self.lab.url}/api/pull", json=body, timeout=20).raise_for_status()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.lab.url}{path}", json=body, timeout=20)

    def ps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.lab.url}/api/ps").json()["models"]
        return found

    def order(self, wish: str = "load", model: str = MODEL, **fields: Any) -> LoadOrder:
        self.jobs += 1
        values = {
            "node": "rog",
            "job_id": self.jobs,
            "instance_url": self.lab.url,
            "model": model,
            "wish": wish,
            "deadline_s": LOAD_DEADLINE_S,
        }
        return LoadOrder.model_validate(values | fields)

    def do(self, order: LoadOrder) -> LoadProgress:
        self.loads.carry_out(order)
        return self.said(order)[-1]

    def said(self, order: LoadOrder) -> list[LoadProgress]:
        reports = self.server.reports("rog")
        return [r for r in reports if isinstance(r, LoadProgress) and r.job_id == order.job_id]

    def begin(self, order: LoadOrder) -> threading.Thread:
        thread = threading.Thread(target=self.loads.carry_out, args=[order])
        thread.start()
        self.wait_for(lambda: self.said(order))
        return thread

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def weights() -> dict[str, Weights]:
    """Return all model files, one of which only embeds."""
    return {
        digest: replace(each, capabilities=("embedding",)) if each.model == EMBEDS else each
        for digest, each in catalog_weights().items()
    }


@pytest.fixture(scope="module")
def bench() -> Iterator[LoadBench]:
    with ollama_lab(weights=weights()) as lab, own_store() as server:
        environ = {"REDIS_URL": server.url, "LABDASH_OLLAMA_URLS": lab.url}
        store = Store(server.url, slug="rog")
        telemetry = Telemetry(NodeConfig.from_env(environ, node="rog"), store)
        telemetry.start()
        stopping = threading.Event()
        found = LoadBench(lab, server, Loads(telemetry=telemetry, store=store, stopping=stopping))
        found.pull(MODEL)
        found.pull(EMBEDS)
        yield found
        telemetry.stop()
        wait_for_threads()
        store._client.close()


@pytest.fixture(autouse=True)
def _empty(bench: LoadBench) -> Iterator[None]:
    yield
    bench.lab.server.pace = bench.lab.server.scheduler._pace = FAST
    for each in bench.ps():
        bench.post("/api/generate", model=each["name"], keep_alive=0)
    bench.wait_for(lambda: not bench.ps())


def test_load_has_the_context_the_card_and_the_time_that_were_asked_for(bench: LoadBench) -> None:
    end = bench.do(bench.order(context=4096, keep_s=-1, main_gpu=1))
    assert (end.phase, end.meaning, end.reason) == ("loaded", None, None)
    assert end.place
    assert end.place.context_length == 4096
    assert end.expires_at
    assert end.expires_at.year > 2300
    gpus = bench.lab.server.machine.gpus
    assert [bool(gpu.held) for gpu in gpus] == [False, True]


def test_keeping_changes_the_time_and_loads_nothing_anew(bench: LoadBench) -> None:
    bench.do(bench.order(context=4096, main_gpu=1))
    pid = bench.lab.server.machine.pid_of(MODEL)
    end = bench.do(bench.order("keep", keep_s=-1, main_gpu=1))
    assert (end.phase, end.meaning) == ("loaded", None)
    assert end.expires_at
    assert end.expires_at.year > 2300
    assert bench.lab.server.machine.pid_of(MODEL) == pid
    assert bench.ps()[0]["context_length"] == 4096


def test_keeping_what_is_not_in_memory_loads_nothing(bench: LoadBench) -> None:
    end = bench.do(bench.order("keep", keep_s=-1))
    assert (end.phase, end.meaning) == ("failed", "It is not in memory any more: load it.")
    assert bench.ps() == []


def test_unload_ends_when_the_memory_is_free(bench: LoadBench) -> None:
    bench.do(bench.order(context=4096, keep_s=-1))
    assert bench.do(bench.order("unload", keep_s=0)).phase == "unloaded"
    assert bench.ps() == []


def test_unload_of_what_is_not_loaded_is_done(bench: LoadBench) -> None:
    assert bench.do(bench.order("unload", keep_s=0)).phase == "unloaded"


def test_unload_waits_for_an_answer_that_is_being_written(bench: LoadBench) -> None:
    bench.do(bench.order(context=4096))
    words = {"model": MODEL, "prompt": "Why? " * 30, "options": {"num_ctx": 4096}}
    answer = threading.Thread(target=bench.post, args=["/api/generate"], kwargs=words)
    answer.start()
    bench.wait_for(lambda: bench.lab.server.machine._working)
    order = bench.order("unload", keep_s=0)
    unloading = bench.begin(order)
    assert bench.said(order)[-1].phase == "loading"
    answer.join()
    unloading.join()
    assert bench.said(order)[-1].phase == "unloaded"


def test_deleted_model_that_stays_loaded_is_told_with_the_way_out(bench: LoadBench) -> None:
    bench.do(bench.order(context=4096))
    body = {"model": MODEL}
    httpx.request("DELETE", f"{bench.lab.url}/api/delete", json=body).raise_for_status()
    end = bench.do(bench.order("unload", keep_s=0))
    assert end.phase == "failed"
    assert end.meaning
    assert end.meaning.startswith("The model was deleted while it was in memory")
    assert end.reason == f"model '{MODEL}' not found"
    bench.pull(MODEL)


def test_embedding_model_is_asked_by_its_own_address(bench: LoadBench) -> None:
    end = bench.do(bench.order(model=EMBEDS, context=2048))
    # By the other one it would not support to generate.
    assert (end.reason or "").startswith("not recorded")
    assert (end.meaning or "").startswith("This is a limit of the simulation")


def test_same_order_twice_is_carried_out_once_and_its_end_told_again(bench: LoadBench) -> None:
    order = bench.order(context=4096)
    first = bench.do(order)
    bench.post("/api/generate", model=MODEL, keep_alive=0)
    bench.wait_for(lambda: not bench.ps())
    assert bench.do(order) == first
    assert bench.ps() == []


def test_cancelled_load_is_given_up(bench: LoadBench) -> None:
    bench.lab.server.scheduler._pace = SLOW
    order = bench.order(context=4096)
    thread = bench.begin(order)
    bench.server.client.set(load_cancel_key("rog", order.job_id), 1)
    thread.join()
    assert bench.said(order)[-1].phase == "cancelled"
    bench.wait_for(lambda: not bench.lab.server.machine._running)


def test_order_that_was_cancelled_in_the_queue_does_nothing(bench: LoadBench) -> None:
    order = bench.order(context=4096)
    bench.server.client.set(load_cancel_key("rog", order.job_id), 1)
    assert bench.do(order).phase == "cancelled"
    assert bench.ps() == []


def test_deadline_ends_a_load(bench: LoadBench) -> None:
    bench.lab.server.scheduler._pace = SLOW
    end = bench.do(bench.order(context=4096, deadline_s=0.5))
    assert (end.phase, (end.meaning or "")[:11]) == ("failed", "Given up af")


def test_worker_that_ends_says_so(bench: LoadBench) -> None:
    bench.lab.server.scheduler._pace = SLOW
    order = bench.order(context=4096)
    thread = bench.begin(order)
    bench.loads._stopping.set()
    thread.join()
    bench.loads._stopping.clear()
    assert bench.said(order)[-1].meaning == "The node's worker was stopped in the middle of it."


def test_refusal_is_told_in_its_words_and_in_plain_ones(bench: LoadBench) -> None:
    text = "llama-server reported out-of-memory during startup: cudaMalloc failed"
    bench.lab.server.load_faults.append(text)
    end = bench.do(bench.order(context=4096))
    assert (end.phase, end.reason) == ("failed", text)
    assert (end.meaning or "").startswith("The GPU's memory is too small for it now.")
    assert end.log or end.log_note


def test_model_that_is_not_there_is_told(bench: LoadBench) -> None:
    end = bench.do(bench.order(model="nothing:1b"))
    assert (end.meaning or "").startswith("This server has no such model any more")


def test_server_that_is_not_this_nodes_is_not_spoken_to(bench: LoadBench) -> None:
    end = bench.do(bench.order(instance_url="http://127.0.0.1:9"))
    assert (end.phase, end.meaning) == (
        "failed",
        "This node has no Ollama server at http://127.0.0.1:9.",
    )


def test_server_that_goes_away_is_told(bench: LoadBench) -> None:
    bench.lab.call(bench.lab.hosted.stop())
    end = bench.do(bench.order())
    bench.lab.call(bench.lab.hosted.start())
    assert (end.phase, end.meaning) == ("failed", "Ollama does not answer. See whether it runs.")
