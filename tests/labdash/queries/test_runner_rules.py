"""Runners that outlive their server, and models that outlive their runner."""

from typing import Any

import pytest

from labdash.queries.problem_view import ProblemView
from tests.factories import GIB, gpu, loaded, make_node, ollama, seen
from tests.labdash.queries.test_problems import found, only
from workers import wire

pytestmark = pytest.mark.django_db


def told(**fields: Any) -> list[ProblemView]:
    """Return what is wrong with a node whose sample has these fields."""
    make_node("rog")
    seen("rog", **fields)
    return found()


def runner(**fields: Any) -> wire.GpuProcess:
    values = {"pid": 1234, "name": "llama-server", "used_bytes": 9 * GIB, "model": "qwen3:8b"}
    return wire.GpuProcess(**{**values, **fields})


def test_runner_without_its_ollama_is_told_with_what_it_holds() -> None:
    problem = only(gpus=(gpu(0, processes=(runner(is_orphan=True),)),))
    assert problem.code == "orphan"
    assert problem.text == (
        "llama-server on rog has lost its Ollama and holds 9.0 GiB of GPU 0 with qwen3:8b."
    )
    assert problem.next_step == "End it on rog: kill 1234"


def test_each_card_of_an_orphan_is_told() -> None:
    cards = (
        gpu(0, processes=(runner(is_orphan=True),)),
        gpu(1, processes=(runner(is_orphan=True, used_bytes=None, name=None),)),
    )
    texts = [problem.text for problem in told(gpus=cards)]
    assert len(texts) == 2
    assert "A runner on rog has lost its Ollama and holds memory of GPU 1" in texts[1]


LISTED = (loaded("qwen3:8b"),)
OTHER = wire.GpuProcess(pid=1, name="Xorg", used_bytes=1)


def test_listed_model_that_no_process_holds_is_hinted_at() -> None:
    problem = only(gpus=(gpu(0, processes=(OTHER,)),), instances=(ollama(loaded=LISTED),))
    assert (problem.code, problem.severity) == ("runner_gone", "info")
    assert "lists qwen3:8b, but no process of it is on a GPU" in problem.text


def test_one_of_several_listed_models_may_have_lost_its_runner() -> None:
    both = (*LISTED, loaded("llama3.1:8b"))
    left = runner(model="llama3.1:8b", is_orphan=True)
    problems = told(gpus=(gpu(0, processes=(runner(), left)),), instances=(ollama(loaded=both),))
    texts = [problem.text for problem in problems if problem.code == "runner_gone"]
    assert len(texts) == 1
    assert "lists llama3.1:8b, but no process of it" in texts[0]


@pytest.mark.parametrize(
    ("processes", "fields"),
    [
        ((runner(),), {"loaded": LISTED}),
        ((runner(model="0123456789ab"),), {"loaded": LISTED}),
        ((OTHER,), {"loaded": ()}),
        ((OTHER,), {"loaded": None}),
        ((OTHER,), {"loaded": (loaded("qwen3:8b", vram_gib=0),)}),
        (None, {"loaded": LISTED}),
        ((), {"loaded": LISTED}),
        ((wire.GpuProcess(pid=9),), {"loaded": LISTED}),
        ((OTHER,), {"loaded": LISTED, "home": "container"}),
        ((OTHER,), {"loaded": LISTED, "home": "remote"}),
    ],
)
def test_nothing_is_said_where_it_is_there_or_nobody_can_see(
    processes: tuple[wire.GpuProcess, ...] | None, fields: dict[str, Any]
) -> None:
    problems = told(gpus=(gpu(0, processes=processes),), instances=(ollama(**fields),))
    assert "runner_gone" not in {problem.code for problem in problems}
