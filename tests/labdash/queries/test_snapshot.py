"""The lab as the planner takes it, from the database and what nodes last told."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labdash.env import ROOT
from labdash.models import Deployment, Family, Gpu, GpuSource, Instance, Variant
from labdash.planner.greedy import quick
from labdash.planner.lab import Instance as Server
from labdash.planner.lab import Lab, Node
from labdash.planner.memory.overhead import Overhead
from labdash.queries import snapshot as module
from labdash.queries.lab import read_lab
from labdash.queries.snapshot import read_shelf, snapshot
from tests.factories import GIB, gpu, loaded, make_installed, make_node, ollama, sample, seen
from workers import wire

pytestmark = pytest.mark.django_db
MIB = 1 << 20


def now() -> Lab:
    """Take the lab as it is."""
    return snapshot(now=timezone.now())


def the_node() -> Node:
    """Take the only node."""
    (node,) = now().nodes
    return node


def the_server() -> Server:
    """Take the only server."""
    (server,) = the_node().instances
    return server


def runner(model: str, gib: float, **fields: Any) -> wire.GpuProcess:
    """Return the process of a model."""
    values = {"pid": 7, "name": "llama-server", "instance": "ollama", **fields}
    return wire.GpuProcess(model=model, used_bytes=int(gib * GIB), **values)


def install(instance: Instance, name: str, quant: str, digest: str) -> None:
    """Store an installed name with its weights."""
    family, _ = Family.objects.get_or_create(name=name.partition("-")[0])
    variant = Variant.objects.create(family=family, quant=quant, blob_digest=digest)
    make_installed(instance, name, variant=variant)


def test_what_others_hold_is_all_that_is_no_model() -> None:
    make_node("rog", tags=["desk"])
    process = wire.GpuProcess(pid=8, name="whisper", used_bytes=2 * GIB)
    card = gpu(
        memory_used_bytes=9 * GIB,
        memory_free_bytes=15 * GIB - 400 * MIB,
        memory_reserved_bytes=400 * MIB,
        processes=(runner("qwen3:8b", 6), process),
    )
    seen("rog", gpus=(card,), instances=(ollama(loaded=(loaded(),)),))
    node = the_node()
    (found,) = node.cards
    assert (found.used_bytes, found.doubt) == (3 * GIB + 400 * MIB, "")
    assert (found.vendor, found.sm_count, found.bandwidth_gbs) == ("nvidia", 82, 936)
    assert (node.tags, node.away, node.unified) == (("desk",), "", False)


def test_models_of_which_no_process_tells_are_taken_by_ollamas_word() -> None:
    make_node("pc", kind="windows")
    cards = (
        gpu(0, memory_used_bytes=9 * GIB, processes=None),
        gpu(1, memory_used_bytes=3 * GIB, processes=None),
    )
    seen("pc", gpus=cards, instances=(ollama(loaded=(loaded(vram_gib=6),)),))
    first, second = the_node().cards
    # 6 of 12 GiB in use are the model's, in proportion on each card.
    assert (first.used_bytes, second.used_bytes) == (int(4.5 * GIB), int(1.5 * GIB))
    assert "not measured" in first.doubt


def test_a_card_that_nobody_measures_keeps_a_drivers_part() -> None:
    node = make_node("nas", agentless=True, kind="windows", declared_ram_bytes=16 * GIB)
    Gpu.objects.create(node=node, name="RTX 4060", memory_total_bytes=8 * GIB, reserve_bytes=GIB)
    card = wire.GpuReading(
        uuid="declared-0", index=0, name="RTX 4060", source="declared", memory_total_bytes=8 * GIB
    )
    seen("nas", gpus=(card,))
    found = the_node()
    assert found.cards[0].room_bytes == pytest.approx(6 * GIB, rel=0.01)
    assert "nobody measures it" in found.cards[0].doubt
    assert (found.ram_room_bytes, bool(found.doubt)) == (12 * GIB, True)


def test_what_an_owner_keeps_is_not_room() -> None:
    node = make_node("rog")
    row = Gpu.objects.create(
        node=node, uuid="GPU-0", name="x", source=GpuSource.NVML, reserve_bytes=4 * GIB
    )
    seen("rog")
    assert the_node().cards[0].room_bytes == 18 * GIB
    row.margin_bytes = 0
    row.save()
    assert the_node().cards[0].margin_bytes == 0


@pytest.mark.parametrize(
    ("field", "why"),
    [("given_back", "given back to its owner"), ("game_on", "given back while other programs")],
)
def test_a_card_that_is_given_back_has_no_room(field: str, why: str) -> None:
    node = make_node("rog")
    Gpu.objects.create(node=node, uuid="GPU-0", name="x", source=GpuSource.NVML, **{field: True})
    seen("rog")
    (card,) = the_node().cards
    assert (card.room_bytes, why in card.doubt) == (0, True)


def test_a_lost_card_has_no_room_and_no_server_sees_it() -> None:
    make_node("rog")
    seen("rog", gpus=(gpu(0, state="lost", reason="fell off"), gpu(1, uuid="GPU-1")))
    node = the_node()
    assert (node.cards[0].room_bytes, node.cards[0].doubt) == (0, "fell off")
    assert node.instances[0].gpus == (1,)


def test_the_ram_that_models_take_is_not_others() -> None:
    make_node("rog")
    host = wire.HostReading(hostname="rog", ram_total_bytes=32 * GIB, ram_used_bytes=10 * GIB)
    split = loaded(size_gib=6, vram_gib=2)
    seen("rog", host=host, instances=(ollama(loaded=(split,)),))
    node = the_node()
    assert (node.ram_bytes, node.ram_used_bytes, node.doubt) == (32 * GIB, 6 * GIB, "")


def test_memory_of_one_pool_is_counted_once() -> None:
    make_node("mac", kind="mac")
    host = wire.HostReading(hostname="mac", ram_total_bytes=24 * GIB, ram_used_bytes=10 * GIB)
    card = gpu(
        name="Apple M4",
        source="declared",
        unified=True,
        memory_total_bytes=17 * GIB,
        memory_used_bytes=None,
    )
    seen("mac", host=host, gpus=(card,), instances=(ollama(loaded=(loaded(),)),))
    node = the_node()
    assert (node.unified, node.ram_used_bytes, node.cards[0].used_bytes) == (True, 4 * GIB, 0)


def test_a_server_is_as_its_process_says() -> None:
    make_node("rog")
    settings = (
        wire.Setting(name="OLLAMA_NUM_PARALLEL", value="2"),
        wire.Setting(name="CUDA_VISIBLE_DEVICES", value="1,0"),
    )
    seen("rog", gpus=(gpu(0), gpu(1)), instances=(ollama(settings=settings, version="0.30.6"),))
    server = the_server()
    assert (server.name, server.version, server.build) == ("rog/ollama", "0.30.6", 9509)
    assert server.env["OLLAMA_NUM_PARALLEL"] == "2"
    assert server.gpus == (1, 0)


def test_a_server_that_cannot_be_looked_into_is_as_its_owner_says() -> None:
    node = make_node("rog")
    declared = {"OLLAMA_KV_CACHE_TYPE": "q8_0"}
    node.instances.update(declared_settings=declared, declared_gpus=[1])
    seen("rog", gpus=(gpu(0), gpu(1)), instances=(ollama(version=None),))
    server = the_server()
    assert (server.env, server.gpus) == (declared, (1,))
    assert (server.version, server.build) == (None, 10488)


def test_what_runs_and_what_is_installed_is_told() -> None:
    instance = make_node("rog").instances.get()
    install(instance, "qwen3:8b", "Q4_K_M", "sha256:aa")
    make_installed(instance, "far:cloud", is_cloud=True)
    card = gpu(memory_used_bytes=7 * GIB, processes=(runner("qwen3:8b", 6),))
    seen("rog", gpus=(card,), instances=(ollama(loaded=(loaded(),)),))
    server = the_server()
    assert (server.installed, server.blobs) == (("qwen3:8b",), {"qwen3:8b": "sha256:aa"})
    assert server.file_bytes == {"qwen3:8b": 5 * GIB}
    assert read_shelf().cloud == {"far:cloud"}
    (running,) = server.running
    assert (running.name, running.gpu_bytes, running.stays) == ("qwen3:8b", {0: 6 * GIB}, False)


@pytest.mark.parametrize(
    ("age_s", "fields", "why"),
    [
        (0, {}, ""),
        (100, {}, "it is silent for 1 min"),
        (0, {"paused": True}, "it is paused"),
    ],
)
def test_a_node_that_cannot_be_used_says_why(
    age_s: float, fields: dict[str, Any], why: str
) -> None:
    make_node("rog", **fields)
    seen("rog", age_s=age_s)
    assert the_node().away == why


def test_a_node_of_which_nothing_was_heard_is_away() -> None:
    make_node("rog")
    assert (the_node().away, the_node().cards) == ("nothing was reported of it yet", ())


def test_a_server_that_does_not_answer_is_left_out() -> None:
    make_node("rog", urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    silent = ollama(name="ollama-2", state="refused", reason="nothing listens")
    seen("rog", instances=(ollama(), silent))
    assert [each.name for each in the_node().instances] == ["rog/ollama"]
    seen("rog", instances=(silent, ollama(state="timeout")))
    assert "does not answer" in the_node().away


@pytest.mark.parametrize(
    ("model", "installed"),
    [("gpt-oss:120b-cloud", True), ("gpt-oss:20b-CLOUD", False), ("qwen3:14b", True)],
)
def test_what_runs_in_a_cloud_is_refused_whether_by_its_name_or_by_its_host(
    model: str, *, installed: bool
) -> None:
    instance = make_node("rog").instances.get()
    seen("rog")
    if installed:
        make_installed(instance, model, is_cloud=True)
    Deployment.objects.create(name="far", model=model)
    lab = snapshot(now=timezone.now())
    (refusal,) = quick(lab).refusals
    assert (refusal.limit, lab.deployments[0].variants) == ("model", ())
    assert refusal.text == (
        f"{model} runs in Ollama's cloud and takes no memory here: ask for a model that runs in the"
        " lab"
    )


def test_name_that_is_here_and_in_a_cloud_is_planned_as_it_is_here() -> None:
    here, there = make_node("rog").instances.get(), make_node("tower").instances.get()
    install(here, "qwen3:8b", "Q4_K_M", "sha256:aa")
    make_installed(there, "qwen3:8b", is_cloud=True)
    Deployment.objects.create(name="near", model="qwen3:8b")
    assert snapshot(now=timezone.now()).deployments[0].variants


def test_deployments_are_served_with_what_is_installed() -> None:
    instance = make_node("rog").instances.get()
    install(instance, "qwen3:8b-q8_0", "Q8_0", "sha256:aa")
    seen("rog")
    Deployment.objects.create(name="chat", model="qwen3:8b", quant_wish="Q8_0", nodes=["desk"])
    Deployment.objects.create(name="odd", model="nosuch", priority=4)
    chat, odd = now().deployments
    assert (chat.variants[0].digest, sorted(chat.nodes)) == ("sha256:aa", ["desk"])
    assert (chat.ctx_floor, chat.ctx_wish, chat.priority) == (8192, 32768, 3)
    assert (odd.variants, odd.unknown) == ((), "model")


def test_a_wrong_quant_refuses_its_own_deployment_alone() -> None:
    Deployment.objects.create(name="a", model="qwen3:8b", quant_floor="Q9")
    (found,) = now().deployments
    assert (found.unknown, "no quant" in found.unknown_text) == ("quant", True)


def test_learned_overheads_replace_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    overhead = Overhead(context_bytes=1, growth_bytes=2, basis="learned")
    key = ("NVIDIA GeForce RTX 3090", "580.1", "0.32.15")
    monkeypatch.setattr(module, "learned_overheads", lambda: {key: overhead})
    make_node("rog")
    seen("rog")
    assert the_node().cards[0].learned is overhead


@pytest.mark.parametrize("count", [1, 3])
def test_the_lab_is_read_in_few_queries(count: int) -> None:
    for number in range(count):
        instance = make_node(f"n{number}").instances.get()
        install(instance, f"qwen3:8b-q{number}", "Q8_0", f"sha256:{number}")
        seen(f"n{number}", gpus=(gpu(uuid=f"GPU-{number}"),))
        Deployment.objects.create(name=f"d{number}", model="qwen3:8b")
    view = read_lab(now=timezone.now())
    with CaptureQueriesContext(connection) as queries:
        snapshot(view)
    assert len(queries) <= 4


def test_the_shelf_alone_is_one_query(django_assert_num_queries: Any) -> None:
    install(make_node("rog").instances.get(), "qwen3:8b", "Q4_K_M", "sha256:aa")
    with django_assert_num_queries(1):
        assert [have.name for have in read_shelf().haves] == ["qwen3:8b"]


def test_a_sample_that_was_kept_is_enough() -> None:
    node = make_node("rog")
    report = sample("rog")
    node.last_sample, node.last_seen_at = report.model_dump(mode="json"), report.sent_at
    node.save()
    assert len(the_node().cards) == 1


def test_in_the_demo_only_what_its_registry_offers_is_weighed(settings: Any) -> None:
    settings.OFFERS = ROOT / "workers" / "simlab" / "data" / "offers.json"
    Deployment.objects.create(
        name="chat", model="qwen3:8b", quant_floor="Q4_K_M", quant_wish="Q8_0"
    )
    (chat,) = now().deployments
    assert [each.name for each in chat.variants] == ["qwen3:8b-q8_0", "qwen3:8b"]
