"""What a lab's file makes the database say."""

import pytest

from labdash.domain.errors import LabDashError
from labdash.domain.labs import Imported, import_lab
from labdash.models import Deployment, Gpu, GpuSource, Node, PullSchedule
from labdash.queries.lab_file import read
from tests.factories import GIB, make_node

pytestmark = pytest.mark.django_db

NAS = """
[[node]]
name = "nas"
tags = ["cellar"]
kind = "windows"
agentless = true
ram_gib = 32
  [[node.gpu]]
  name = "RTX 4060"
  vram_gib = 8
  reserve_gib = 1
  [[node.instance]]
  url = "http://192.168.1.7:11434"
  env = { OLLAMA_KV_CACHE_TYPE = "q8_0" }
  gpus = [0]
"""


def store(text: str, **options: bool) -> Imported:
    """Import a file."""
    return import_lab(entries=read(text), **options)


def test_an_agentless_node_is_added_with_its_hardware() -> None:
    done = store(NAS)
    node = Node.objects.get()
    assert (node.slug, node.kind, node.agentless, node.tags) == ("nas", "windows", True, ["cellar"])
    assert node.declared_ram_bytes == 32 * GIB
    card, instance = node.gpus.get(), node.instances.get()
    assert (card.memory_total_bytes, card.reserve_bytes) == (8 * GIB, GIB)
    assert instance.url == "http://192.168.1.7:11434"
    assert done.changes[0] == "node nas: added, agentless, with 1 GPUs"


def test_an_agentless_node_follows_its_file() -> None:
    store(NAS)
    assert store(NAS).changes == ()
    instance = Node.objects.get().instances.get()
    assert instance.declared_settings == {"OLLAMA_KV_CACHE_TYPE": "q8_0"}
    assert instance.declared_gpus == [0]
    moved = store(NAS.replace("192.168.1.7", "192.168.1.8").replace("= 32", "= 64"))
    assert moved.changes == (
        "node nas: its Ollama is at http://192.168.1.8:11434",
        "node nas: 64.0 GiB of RAM",
    )
    assert store(NAS.replace("192.168.1.7", "192.168.1.8").replace("= 32", "= 64")).changes == ()


def test_tags_and_reserves_of_a_node_with_a_worker_are_stored() -> None:
    node = make_node("rog")
    Gpu.objects.create(
        node=node, uuid="GPU-0", name="x", source=GpuSource.NVML, memory_total_bytes=24 * GIB
    )
    text = '[[node]]\nname = "rog"\ntags = ["desk"]\n[[node.gpu]]\nname = "x"\nvram_gib = 24\n'
    done = store(f"{text}reserve_gib = 7.5\nmargin_gib = 0.5")
    assert done.changes == (
        "node rog: tags desk",
        "rog/0: 7.5 GiB kept for its owner, 0.5 GiB margin",
    )
    assert node.gpus.get().reserve_bytes == int(7.5 * GIB)
    assert store(f"{text}reserve_gib = 7.5\nmargin_gib = 0.5").changes == ()


def test_a_card_that_is_not_there_keeps_nothing() -> None:
    make_node("rog")
    text = '[[node]]\nname = "rog"\n[[node.gpu]]\nname = "x"\nvram_gib = 24\n'
    assert store(text).changes == ()
    with pytest.raises(LabDashError, match="node rog has no GPU 0"):
        store(f"{text}reserve_gib = 1")


def test_a_node_does_not_become_agentless() -> None:
    make_node("rog")
    with pytest.raises(LabDashError, match="node rog is no agentless node here"):
        store('[[node]]\nname = "rog"\nagentless = true')


def test_a_node_that_has_not_joined_is_told() -> None:
    done = store('[[node]]\nname = "rog"')
    assert done.skipped == ("node rog is not here: it is known once its worker joins",)
    assert Node.objects.count() == 0


def test_deployments_may_name_each_other() -> None:
    done = store(
        '[[deployment]]\nname = "a"\nmodel = "qwen3:8b"\nkeep_apart = ["b"]\n'
        '[[deployment]]\nname = "b"\nmodel = "qwen3:4b"\nctx = { floor = 4096 }\n'
    )
    assert done.changes == (
        "deployment a: added",
        "deployment b: added",
        "deployment a: kept apart from b",
    )
    second = Deployment.objects.get(name="b")
    assert (second.ctx_floor, second.ctx_wish) == (4096, 4096)


def test_only_what_differs_is_changed() -> None:
    text = '[[deployment]]\nname = "a"\nmodel = "qwen3:8b"\n'
    store(text)
    assert store(text).changes == ()
    done = store(f'{text}priority = 1\nkv_type = ["q8_0"]')
    assert done.changes == ("deployment a: priority 1, kv_types q8_0",)


def test_a_refused_deployment_is_named() -> None:
    with pytest.raises(LabDashError, match="deployment a: No node and no tag is named attic"):
        store('[[deployment]]\nname = "a"\nmodel = "qwen3:8b"\nnodes = ["attic"]')


def test_pruning_spares_nodes_with_a_worker() -> None:
    make_node("rog")
    store(NAS)
    done = store("", prune=True)
    assert done.changes == ("node nas: removed",)
    assert [node.slug for node in Node.objects.all()] == ["rog"]


def test_a_trial_stores_nothing() -> None:
    assert store(NAS, dry_run=True).changes
    assert Node.objects.count() == 0


NIGHTLY = '[[schedule]]\nname = "nightly"\nat = "02:00"\nuntil = "06:00"\nmodels = ["qwen3:8b"]\n'


def test_schedules_are_added_changed_and_pruned() -> None:
    make_node("rog")
    assert store(NIGHTLY).changes == ("schedule nightly: added",)
    assert store(NIGHTLY).changes == ()
    changed = store(f'{NIGHTLY}nodes = ["rog"]\nat_once = 1\npaused = true')
    assert changed.changes == ("schedule nightly: nodes rog, at_once 1, paused True",)
    with pytest.raises(LabDashError, match="schedule nightly: No node and no tag is named attic"):
        store(f'{NIGHTLY}nodes = ["attic"]')
    assert store("", prune=True, dry_run=True).changes == ("schedule nightly: deleted",)
    assert store("").changes == ()
    store("", prune=True)
    assert not PullSchedule.objects.exists()
