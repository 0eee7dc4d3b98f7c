"""Orders about names, carried out on a simulated server over real HTTP."""

import threading
from collections.abc import Iterator

import pytest

from tests.simlab import FAST, OllamaLab, ollama_lab
from tests.workers.engines.name_bench import ALIAS, LISTED, MODEL, NameBench
from tests.workers.stores import OwnStore, own_store
from workers.simlab.ollama.settings import Pace
from workers.wire import DeleteOrder, Parameters, apply_cancel_key


@pytest.fixture(scope="module")
def store_server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture(scope="module")
def lab() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def bench(lab: OllamaLab, store_server: OwnStore) -> Iterator[NameBench]:
    found = NameBench(lab.url, store_server)
    found.post("/api/pull", model=MODEL, stream=False).raise_for_status()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bench" not in request.fixturenames:
        return
    bench: NameBench = request.getfixturevalue("bench")
    for name in bench.ps():
        bench.post("/api/generate", model=name, keep_alive=0)
    bench.wait_for(lambda: not bench.ps())
    for name in bench.names() - {MODEL}:
        bench.client.request("DELETE", "/api/delete", json={"model": name})


def test_alias_keeps_the_options_and_shares_the_weights(bench: NameBench) -> None:
    wanted = Parameters(num_ctx=8192, num_batch=512, num_gpu=20, main_gpu=1)
    assert bench.create(parameters=wanted).phase == "done"
    assert bench.names() == {MODEL, LISTED}
    assert bench.kept(ALIAS) == bench.kept(MODEL) | {
        "num_ctx": "8192",
        "num_batch": "512",
        "num_gpu": "20",
        "main_gpu": "1",
    }
    assert bench.show(ALIAS)["details"]["parent_model"] == MODEL


def test_alias_is_loaded_by_its_own_options(bench: NameBench, lab: OllamaLab) -> None:
    bench.create(parameters=Parameters(num_ctx=4096, num_batch=512, main_gpu=1))
    end = bench.load(LISTED, keep_s=-1)
    assert (end.phase, end.meaning) == ("loaded", None)
    assert end.place
    assert end.place.context_length == 4096
    assert [bool(gpu.held) for gpu in lab.server.machine.gpus] == [False, True]
    assert bench.ps() == [LISTED]


def test_name_without_a_tag_is_found_among_what_is_loaded(bench: NameBench) -> None:
    bench.create()
    end = bench.load(ALIAS)
    assert end.expires_at


def test_new_alias_is_known_for_its_weights_at_once(bench: NameBench) -> None:
    node = bench.telemetry.find("rog")
    assert node
    bench.wait_for(lambda: MODEL in node._names.sharing("ollama", MODEL))
    bench.create()
    assert node.same_weights("ollama", MODEL) == {MODEL, LISTED}
    assert node.same_weights("ollama", ALIAS) == {MODEL, LISTED}


def test_same_alias_twice_is_the_same_as_once(bench: NameBench) -> None:
    assert [bench.create().phase, bench.create().phase] == ["done", "done"]
    assert bench.names() == {MODEL, LISTED}


def test_alias_gets_other_options_when_it_is_made_anew(bench: NameBench) -> None:
    bench.create(parameters=Parameters(num_ctx=4096, num_gpu=10, main_gpu=0))
    bench.create(parameters=Parameters(num_ctx=2048))
    assert bench.kept(ALIAS) == bench.kept(MODEL) | {"num_ctx": "2048"}


def test_model_gets_options_under_its_own_name_and_loses_them(bench: NameBench) -> None:
    before = bench.kept(MODEL)
    given = Parameters(num_ctx=4096, num_gpu=10, main_gpu=1)
    assert bench.create(MODEL, MODEL, parameters=given).phase == "done"
    assert bench.names() == {MODEL}
    assert bench.kept(MODEL)["num_gpu"] == "10"
    bench.create(MODEL, MODEL, parameters=Parameters(num_ctx=4096))
    assert bench.kept(MODEL) == before | {
        "num_ctx": "4096",
        "num_gpu": "-1",
        "main_gpu": "<nil>",
    }
    # And it loads as if nobody had ever pinned it.
    assert bench.load(MODEL).phase == "loaded"


def test_base_that_is_not_installed_is_not_pulled(bench: NameBench, lab: OllamaLab) -> None:
    given = lab.registry.given_bytes
    end = bench.create(base="qwen3:0.6b")
    assert (end.phase, end.meaning) == (
        "failed",
        "qwen3:0.6b is not installed on this server, so no name was made of it. Pull it first.",
    )
    assert bench.names() == {MODEL}
    assert lab.registry.given_bytes == given


def test_name_that_was_pulled_is_neither_made_anew_nor_deleted(bench: NameBench) -> None:
    # As somebody's own folder of this name would be: no model that it was made from is told.
    bench.post("/api/create", model=ALIAS, remote_host="https://ollama.com", **{"from": "x"})
    for end in (bench.create(), bench.delete()):
        assert end.phase == "failed"
        assert end.meaning == f"{LISTED} was pulled, not made by LabDash, so it is left as it is."
    assert bench.names() == {MODEL, LISTED}


def test_alias_is_deleted_and_the_base_stays(bench: NameBench) -> None:
    bench.create()
    assert bench.delete().phase == "done"
    assert bench.names() == {MODEL}
    assert bench.load(MODEL, context=4096).phase == "loaded"


def test_alias_in_memory_is_unloaded_before_it_is_deleted(bench: NameBench) -> None:
    bench.create()
    bench.load(LISTED, keep_s=-1)
    assert bench.delete(LISTED).phase == "done"
    assert bench.ps() == []
    assert bench.names() == {MODEL}


def test_base_in_memory_stays_there_when_its_alias_is_deleted(bench: NameBench) -> None:
    bench.create()
    bench.load(MODEL, context=4096, keep_s=-1)
    assert bench.delete().phase == "done"
    assert bench.ps() == [MODEL]


def test_alias_that_is_gone_is_deleted(bench: NameBench) -> None:
    assert bench.delete("labdash/nothing").phase == "done"


def test_order_that_was_cancelled_in_the_queue_does_nothing(bench: NameBench) -> None:
    bench.server.client.set(apply_cancel_key("rog", bench.jobs + 1), 1)
    assert bench.create().phase == "cancelled"
    assert bench.names() == {MODEL}


def test_delete_is_cancelled_while_it_waits_for_an_answer(bench: NameBench, lab: OllamaLab) -> None:
    bench.create()
    bench.load(LISTED, keep_s=-1)
    lab.server.scheduler._pace = Pace(unload_s=30)
    order = bench.order(DeleteOrder, model=ALIAS)
    thread = threading.Thread(target=bench.namings.carry_out, args=[order])
    thread.start()
    bench.wait_for(lambda: bench.said(order.job_id))
    assert bench.said(order.job_id)[-1].phase == "working"
    bench.server.client.set(apply_cancel_key("rog", order.job_id), 1)
    thread.join()
    lab.server.scheduler._pace = FAST
    assert bench.said(order.job_id)[-1].phase == "cancelled"
    assert LISTED in bench.names()
    runner = next(iter(lab.server.scheduler._runners.values()))
    lab.loop.call_soon_threadsafe(lab.server.scheduler._runners.clear)
    lab.server.machine.unload(runner.loaded.pid)


def test_refusal_is_told_in_its_words_and_in_plain_ones(bench: NameBench, lab: OllamaLab) -> None:
    free, lab.server.machine.disk_free_bytes = lab.server.machine.disk_free_bytes, 0
    end = bench.create()
    lab.server.machine.disk_free_bytes = free
    assert end.phase == "failed"
    assert end.reason
    assert "no space left" in end.reason
    assert end.meaning == "The disk of its models is full. Free some space there."


def test_server_that_is_not_this_nodes_is_not_spoken_to(bench: NameBench) -> None:
    end = bench.create(instance_url="http://127.0.0.1:9")
    assert end.meaning == "This node has no Ollama server at http://127.0.0.1:9."


def test_server_that_is_down_is_told(bench: NameBench, lab: OllamaLab) -> None:
    lab.call(lab.hosted.stop())
    end = bench.create()
    lab.call(lab.hosted.start())
    assert (end.phase, end.reason) == ("failed", "nothing listens on this port")
    assert end.meaning == "Ollama does not answer. See whether it runs."
