"""The lab as it would stand in its file."""

import pytest
from django.utils import timezone

from labdash.models import Gpu, GpuSource
from labdash.queries.lab import read_lab
from labdash.queries.lab_entries import NodeEntry
from labdash.queries.lab_export import read_entries
from labdash.queries.lab_file import read
from labdash.queries.lab_text import lab_text
from tests.factories import GIB, gpu, loaded, make_installed, make_node, ollama, seen
from workers import wire

pytestmark = pytest.mark.django_db


def the_node(*, present: bool) -> NodeEntry:
    """Write the lab and read its only node back."""
    entries = read_entries(read_lab(now=timezone.now()), present=present)
    assert read(lab_text(entries)) == entries
    (node,) = entries.nodes
    return node


def fill() -> None:
    """Store a node that has something of everything."""
    node = make_node("rog", tags=["desk"])
    Gpu.objects.create(
        node=node, uuid="GPU-0", name="x", source=GpuSource.NVML, reserve_bytes=GIB, game_on=True
    )
    make_installed(node.instances.get())
    process = wire.GpuProcess(pid=7, model="qwen3:8b", instance="ollama", used_bytes=6 * GIB)
    card = gpu(memory_used_bytes=8 * GIB, processes=(process,))
    host = wire.HostReading(hostname="rog", ram_total_bytes=32 * GIB, ram_used_bytes=4 * GIB)
    settings = (wire.Setting(name="OLLAMA_NUM_PARALLEL", value="2"),)
    reading = ollama(loaded=(loaded(),), settings=settings)
    seen("rog", gpus=(card, gpu(1)), host=host, instances=(reading,))


def test_what_changes_by_itself_is_left_out() -> None:
    fill()
    node = the_node(present=False)
    (first, _), (instance,) = node.gpus, node.instances
    assert (node.tags, node.ram_bytes, node.ram_used_bytes) == (("desk",), 32 * GIB, None)
    assert (first.used_bytes, first.reserve_bytes, first.vram_bytes) == (None, GIB, 24 * GIB)
    assert (instance.name, instance.ollama, instance.gpus) == ("rog/ollama", "0.32.15", (0, 1))
    assert (instance.env, instance.installed) == ({"OLLAMA_NUM_PARALLEL": "2"}, ())


def test_what_holds_right_now_is_told_when_asked() -> None:
    fill()
    node = the_node(present=True)
    (_, second), (instance,) = node.gpus, node.instances
    assert (node.ram_used_bytes, node.disk_free_bytes) == (4 * GIB, 400 * GIB)
    assert (second.used_bytes, instance.installed) == (2 * GIB, ("qwen3:8b",))
    assert instance.loaded[0].gpu_bytes == (6 * GIB, 0)


def test_a_server_that_does_not_answer_stays_in_the_file() -> None:
    make_node("rog")
    seen("rog", instances=(ollama(state="refused"),))
    node = the_node(present=True)
    assert (node.asleep, node.instances[0].name) == (True, "rog/ollama")


def test_what_was_declared_of_a_server_that_does_not_answer_stays_in_the_file() -> None:
    row = make_node("rog").instances.get()
    row.declared_settings, row.declared_gpus = {"OLLAMA_NUM_PARALLEL": "2"}, [1]
    row.save()
    seen("rog", gpus=(gpu(0), gpu(1, uuid="GPU-1")), instances=(ollama(state="refused"),))
    (instance,) = the_node(present=False).instances
    assert (dict(instance.env), instance.gpus) == ({"OLLAMA_NUM_PARALLEL": "2"}, (1,))
