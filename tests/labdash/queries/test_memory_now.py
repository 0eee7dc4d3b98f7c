"""What lies in memory now, by device, from what drivers and servers tell."""

from datetime import timedelta

import pytest
from django.utils import timezone

from labdash.models import Node
from labdash.queries.lab import NodeView
from labdash.queries.memory_now import models_on, others_on, taken_by_others, why_down
from tests.factories import GIB, gpu, loaded, ollama, sample
from workers import wire


def view(*gpus: wire.GpuReading, **fields: object) -> NodeView:
    told = sample("rog", gpus=gpus or (gpu(),), instances=(ollama(**fields),))
    return NodeView(node=Node(slug="rog"), liveness="live", age_s=1.0, sample=told)


def runner(name: str, gib: float | None, **fields: object) -> wire.GpuProcess:
    used = None if gib is None else round(gib * GIB)
    values = {"pid": 7, "name": "llama-server", "used_bytes": used, "model": name, **fields}
    return wire.GpuProcess.model_validate(values)


def test_model_lies_where_its_runner_holds_memory() -> None:
    entry = loaded("chat:latest", size_gib=8, vram_gib=6)
    cards = (gpu(0, processes=(runner("chat:latest", 4),)), gpu(1, processes=(runner("chat", 2),)))
    (model,) = models_on(view(*cards, loaded=(entry,)), "ollama") or ()
    assert model.held == {"rog/0": 4 * GIB, "rog/1": 2 * GIB}
    assert (model.devices, model.cpu_share) == (frozenset({"rog/0", "rog/1"}), 0.25)


@pytest.mark.parametrize(
    "process",
    [
        runner("other:1b", 4),
        runner("chat:latest", 4, instance="ollama-2"),
        runner("chat:latest", 4, is_orphan=True),
        runner("chat:latest", None),
    ],
)
def test_process_that_is_not_its_runner_or_tells_nothing_is_no_measurement(
    process: wire.GpuProcess,
) -> None:
    shown = view(gpu(processes=(process,)), loaded=(loaded("chat:latest"),))
    (model,) = models_on(shown, "ollama") or ()
    assert model.held is None


@pytest.mark.parametrize(("years", "stays"), [(290, True), (0.001, False)])
def test_model_that_leaves_in_centuries_stays(years: float, *, stays: bool) -> None:
    until = timezone.now() + timedelta(days=365 * years)
    entry = loaded("chat").model_copy(update={"expires_at": until})
    (model,) = models_on(view(loaded=(entry,)), "ollama") or ()
    assert model.stays is stays


def test_server_that_does_not_answer_tells_of_no_models() -> None:
    shown = view(state="timeout", loaded=None)
    assert models_on(shown, "ollama") is None
    assert why_down(shown, "ollama") == "Waits: Ollama (ollama) on rog does not answer."
    assert why_down(shown, "new") == "Waits: rog has not told of new yet."
    assert why_down(view(), "ollama") == ""


def test_other_programs_are_all_but_runners() -> None:
    game = wire.GpuProcess(pid=1, name="game.exe", used_bytes=4 * GIB)
    stranger = wire.GpuProcess(pid=2, name="llama-server", used_bytes=2 * GIB)
    nameless = wire.GpuProcess(pid=3, used_bytes=GIB)
    shown = view(gpu(processes=(game, stranger, nameless, runner("x", 3))))
    assert others_on(shown) == {"rog/0": {"game.exe": 4 * GIB, "a program of unknown name": GIB}}
    assert taken_by_others(shown) == {0: 5 * GIB}


def test_where_the_driver_tells_no_process_it_is_what_models_do_not_explain() -> None:
    silent = wire.GpuProcess(pid=1, name="game.exe")
    shown = view(gpu(processes=(silent,), memory_used_bytes=10 * GIB), loaded=(loaded(),))
    assert taken_by_others(shown) == {0: 4 * GIB}


def test_cards_that_nobody_reads_tell_nothing() -> None:
    assert taken_by_others(view(gpu(state="lost"), gpu(1, source="declared"))) == {}
