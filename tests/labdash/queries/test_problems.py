"""What is wrong, and what to do about it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.problems import record_problems
from labdash.models import GpuSource, Instance, Node, Problem
from labdash.queries.lab import read_lab
from labdash.queries.problems import ProblemView, find_problems
from tests.factories import (
    GIB,
    gpu,
    loaded,
    make_installed,
    make_instance,
    make_node,
    ollama,
    sample,
    seen,
)
from workers import wire

pytestmark = pytest.mark.django_db


def found() -> list[ProblemView]:
    """Return what is wrong now, without the hint that no model is there."""
    return [each for each in find_problems(read_lab(now=timezone.now())) if each.code != "no_model"]


def only(**fields: Any) -> ProblemView:
    """Return the only problem of a node whose sample has these fields."""
    if not Node.objects.exists():
        make_node("rog")
    seen(Node.objects.get().slug, **fields)
    problems = found()
    assert len(problems) == 1, problems
    return problems[0]


def test_a_healthy_lab_has_no_problem() -> None:
    make_node("rog")
    seen("rog")
    assert found() == []


def test_a_silent_node_is_told_with_how_long_and_since_when() -> None:
    make_node("rog")
    seen("rog", age_s=240)
    (problem,) = found()
    assert (problem.code, problem.severity) == ("node_silent", "bad")
    assert problem.text == "rog has not reported for 4 min: it is asleep, off, or cut off."
    assert problem.since is not None
    assert 235 < (timezone.now() - problem.since).total_seconds() < 245


def test_what_a_silent_node_last_said_is_no_news() -> None:
    make_node("rog")
    seen("rog", age_s=240, gpus=(gpu(state="lost"),))
    assert [problem.code for problem in found()] == ["node_silent"]


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({}, "Run its line on rog"),
        ({"agentless": True}, "Its worker runs on the hub"),
        ({"started_with": "http://127.0.0.1:11434"}, "Its worker runs on the hub"),
    ],
)
def test_a_node_that_never_reported_says_what_to_start(fields: dict[str, Any], step: str) -> None:
    make_node("rog", **fields)
    (problem,) = found()
    assert problem.code == "node_never_seen"
    assert problem.next_step.startswith(step)


@pytest.mark.parametrize(
    ("state", "code", "part"),
    [
        ("not_loaded", "driver_not_loaded", "installed but not loaded"),
        ("mismatch", "driver_mismatch", "was updated and the old one still runs"),
        ("error", "driver_error", "does not answer (why)"),
    ],
)
def test_a_driver_in_trouble_is_told(state: Any, code: str, part: str) -> None:
    problem = only(driver=wire.DriverReading(state=state, reason="why"), gpus=())
    assert (problem.code, problem.severity) == (code, "bad")
    assert part in problem.text


def test_a_missing_driver_is_a_hint_since_there_may_be_no_card() -> None:
    problem = only(driver=wire.DriverReading(state="missing"), gpus=())
    assert (problem.code, problem.severity) == ("driver_missing", "info")
    assert "If rog has an NVIDIA card, install its driver" in problem.next_step


def test_a_card_that_is_seen_without_driver_is_told() -> None:
    problem = only(driver=wire.DriverReading(state="missing", cards_seen=2), gpus=())
    assert (problem.code, problem.severity) == ("driver_missing", "bad")
    assert problem.text == "rog has 2 NVIDIA cards and no driver, so its models run on the CPU."


def test_a_card_without_driver_beside_one_that_works_is_told() -> None:
    driver = wire.DriverReading(state="missing", cards_seen=1)
    problem = only(driver=driver, gpus=(gpu(source="amdgpu"),))
    assert problem.text == "rog has an NVIDIA card and no driver, so its models cannot use it."


def test_a_machine_that_has_no_card_is_no_problem() -> None:
    make_node("rog")
    seen("rog", driver=wire.DriverReading(state="missing", cards_seen=0), gpus=())
    assert found() == []


def test_a_gpu_that_has_only_slept_is_not_missing() -> None:
    problem = only(driver=wire.DriverReading(state="ok", cards_asleep=1), gpus=())
    assert (problem.code, problem.severity) == ("gpu_asleep", "info")


@pytest.mark.parametrize("state", ["ok", "none"])
def test_a_node_without_a_gpu_is_a_hint(state: Any) -> None:
    problem = only(driver=wire.DriverReading(state=state), gpus=())
    assert (problem.code, problem.severity) == ("no_gpu", "info")


def test_an_agentless_node_without_a_gpu_asks_for_a_declaration() -> None:
    make_node("attic", agentless=True)
    problem = only(driver=wire.DriverReading(state="none"), gpus=())
    assert problem.next_step == "Declare its GPUs in Admin, under attic."


@pytest.mark.parametrize(("held_gib", "is_told"), [(24, False), (37.7, True)])
def test_a_declaration_that_is_too_small_for_what_is_loaded_is_told(
    held_gib: float, is_told: bool
) -> None:
    make_node("attic", agentless=True)
    cards = (gpu(source="declared", memory_used_bytes=None, memory_free_bytes=None),)
    seen("attic", gpus=cards, instances=(ollama(loaded=(loaded(vram_gib=held_gib),)),))
    told = [(each.severity, each.text) for each in found() if each.code == "declared_too_little"]
    text = "attic holds 37.7 GiB on its GPUs: more than the 24.0 GiB declared for it."
    assert told == ([("info", text)] if is_told else [])


def test_a_missing_driver_does_not_matter_beside_a_gpu_of_another_make() -> None:
    make_node("rog")
    seen("rog", driver=wire.DriverReading(state="missing"), gpus=(gpu(source="amdgpu"),))
    assert found() == []


def test_a_lost_gpu_is_named() -> None:
    problem = only(gpus=(gpu(0), gpu(1, state="lost", reason="fell off the bus")))
    assert (problem.code, problem.subject, problem.severity) == ("gpu_lost", "GPU-1", "bad")
    assert problem.text.startswith(
        "GPU 1 (NVIDIA GeForce RTX 3090) of rog is lost: fell off the bus."
    )


def test_a_lost_gpu_is_told_from_its_twin_by_its_place() -> None:
    problem = only(gpus=(gpu(0), gpu(1, state="lost", pci_id="00000000:01:00.0")))
    assert "(NVIDIA GeForce RTX 3090) at 00000000:01:00.0 of rog is lost" in problem.text


@pytest.mark.parametrize("state", ["not_loaded", "mismatch", "error", "missing"])
def test_a_driver_in_trouble_is_the_only_news_of_its_cards(state: Any) -> None:
    driver = wire.DriverReading(state=state, reason="why", cards_seen=2)
    problem = only(driver=driver, gpus=(gpu(state="lost"), gpu(1, state="lost")))
    assert problem.code == f"driver_{state}"


def test_a_card_of_another_make_is_lost_whatever_that_driver_does() -> None:
    make_node("rog")
    cards = (gpu(state="lost"), gpu(1, state="lost", source="amdgpu"))
    seen("rog", driver=wire.DriverReading(state="error"), gpus=cards)
    assert [each.code for each in found()] == ["driver_error", "gpu_lost"]


def test_a_gpu_that_cannot_be_read_is_named() -> None:
    problem = only(gpus=(gpu(state="error", reason="it must be reset"),))
    assert (
        problem.text == "GPU 0 (NVIDIA GeForce RTX 3090) of rog cannot be read: it must be reset."
    )


@pytest.mark.parametrize(
    ("offset_s", "text"),
    [
        (5.0, None),
        (-5.0, None),
        (61.4, "The clock of rog is 1 min ahead of the hub's."),
        (86_399.8, "The clock of rog is 1 day ahead of the hub's."),
        (-7.0, "The clock of rog is 7 s behind the hub's."),
    ],
)
def test_a_clock_off_by_more_than_five_seconds_is_told(offset_s: float, text: str | None) -> None:
    make_node("rog", clock_offset_s=offset_s)
    seen("rog")
    assert [problem.text for problem in found()] == ([text] if text else [])


@pytest.mark.parametrize(("protocol", "step"), [(0, "on rog: run"), (2, "on the hub: fetch")])
def test_a_worker_of_another_version_says_which_side_to_update(protocol: int, step: str) -> None:
    make_node("rog")
    live.note_protocol("rog", protocol)
    (problem,) = found()
    assert problem.code == "protocol"
    assert problem.next_step.startswith(f"Update LabDash {step}")


def test_without_a_store_that_is_the_only_news(dead_store: None) -> None:
    make_node("rog")
    (problem,) = found()
    assert (problem.code, problem.node) == ("store_down", "")


def test_without_a_hub_worker_that_is_the_only_news() -> None:
    make_node("rog")
    seen("rog", age_s=600)
    live.store().delete(live.INTAKE_ALIVE_KEY)
    assert [problem.code for problem in found()] == ["hub_worker_down"]


def test_a_database_that_takes_nothing_is_told_in_place_of_the_worker_once_it_lasts() -> None:
    make_node("rog")
    seen("rog")
    live.note_database_error("database or disk is full")
    assert found() == []
    live.store().delete(live.INTAKE_ALIVE_KEY)
    (problem,) = found()
    assert problem.code == "database_down"
    assert problem.text == "The database takes nothing: database or disk is full."


def test_a_scheduler_that_left_no_trace_is_told_unless_the_worker_is_down_too() -> None:
    make_node("rog")
    seen("rog")
    live.store().delete(live.BEAT_ALIVE_KEY)
    assert [problem.code for problem in found()] == ["nothing_scheduled"]
    live.note_beat()
    assert found() == []
    assert 0 < live.store().ttl(live.BEAT_ALIVE_KEY) <= live.BEAT_ALIVE_FOR_S
    live.store().delete(live.BEAT_ALIVE_KEY, live.INTAKE_ALIVE_KEY)
    assert [problem.code for problem in found()] == ["hub_worker_down"]


def test_an_empty_lab_asks_for_a_node() -> None:
    assert [problem.code for problem in found()] == ["no_node"]


def test_a_server_without_models_asks_for_a_pull_once_it_has_told_what_it_holds() -> None:
    instance = make_instance()
    seen("rog")

    def hints() -> list[str]:
        return [each.text for each in find_problems(read_lab(now=timezone.now()))]

    assert hints() == []
    Instance.objects.update(inventory_at=timezone.now())
    assert hints() == ["There is no model on rog/ollama yet."]
    make_installed(instance)
    assert hints() == []


def test_the_worst_comes_first() -> None:
    make_node("a")
    make_node("b")
    seen("a", driver=wire.DriverReading(state="missing"), gpus=())
    seen("b", gpus=(gpu(state="lost"), gpu(1, state="error")))
    assert [problem.severity for problem in found()] == ["bad", "attention", "info"]


def test_a_problem_keeps_its_beginning_while_its_text_changes() -> None:
    make_node("rog")
    seen("rog", instances=(ollama(loaded=(loaded(vram_gib=4),)),))
    began = timezone.now()
    record_problems(now=began)
    seen("rog", instances=(ollama(loaded=(loaded(vram_gib=3),)),))
    record_problems(now=began + timedelta(seconds=5))
    (row,) = Problem.objects.all()
    assert (row.since, "3.0 GiB of its 6.0 GiB" in row.text) == (began, True)
    assert found()[0].since == began


def test_a_problem_that_is_over_is_forgotten() -> None:
    make_node("rog")
    seen("rog", gpus=(gpu(state="lost"),))
    record_problems(now=timezone.now())
    seen("rog")
    record_problems(now=timezone.now())
    assert not Problem.objects.exists()


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_queries_for_three_nodes_as_for_one(
    count: int, django_assert_num_queries: Any
) -> None:
    for number in range(count):
        node = make_node(f"n{number}", agentless=True)
        node.gpus.create(name="P40", source=GpuSource.DECLARED, memory_total_bytes=GIB)
        seen(node.slug, instances=(ollama(state="refused"),))
    with django_assert_num_queries(10):
        find_problems(read_lab(now=timezone.now()))


def _every_problem() -> list[Callable[[], wire.Sample]]:
    """Return samples that together show every problem of a node."""
    return [
        lambda: sample("rog", driver=wire.DriverReading(state="error"), gpus=()),
        lambda: sample("rog", gpus=(gpu(state="lost"), gpu(1, state="error"))),
        lambda: sample("rog", instances=(ollama(state="error"), ollama(home="container"))),
    ]


@pytest.mark.parametrize("make", _every_problem())
def test_every_problem_has_a_sentence_and_a_next_step(make: Callable[[], wire.Sample]) -> None:
    make_node("rog")
    live.save_state(make(), arrived_at=timezone.now())
    for problem in found():
        assert problem.text[-1] in ".?"
        assert len(problem.text) <= 500
        assert problem.next_step
