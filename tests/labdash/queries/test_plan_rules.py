"""What is told of a plan in force: what failed, what drifted, and who took its memory."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.models import (
    Gpu,
    Instance,
    ItemState,
    ItemWish,
    LoadJob,
    LoadState,
    LoadWish,
    Plan,
    PlanItem,
)
from labdash.models.plan import CANCELLED
from labdash.queries.lab import read_lab
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.status import read_status
from tests.factories import GIB, gpu, loaded, make_installed, make_instance, ollama, seen
from tests.plan_rows import ON_DEMAND, in_force, make_item
from workers import wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    make_installed(instance, "qwen3:8b")
    Gpu.objects.create(node=instance.node, index=0, uuid="GPU-0", name="RTX 3090")
    return instance


def found() -> list[ProblemView]:
    return list(find_problems(read_lab(now=timezone.now())))


def only() -> ProblemView:
    (problem,) = found()
    assert problem.text.endswith(".")
    assert problem.next_step.endswith(".")
    return problem


def drift(instance: Instance, verdict: str = "evicted", **fields: Any) -> PlanItem:
    """Store a resident that has not been as planned for a minute."""
    since = timezone.now() - timedelta(minutes=1)
    values = {"verdict": verdict, "verdict_text": "It is gone.", "verdict_since": since, **fields}
    return in_force(instance, **values)


def holding(gib: float, name: str = "game.exe", **fields: Any) -> tuple[wire.GpuReading, ...]:
    """Return a card of which a program holds so much."""
    process = wire.GpuProcess(pid=9, name=name, used_bytes=round(gib * GIB))
    free = 23 * GIB - round(gib * GIB)
    return (gpu(processes=(process,), memory_free_bytes=free, **fields),)


def test_plan_that_is_as_it_should_be_is_no_problem(instance: Instance) -> None:
    in_force(instance, verdict="as-planned")
    seen()
    assert found() == []


def test_item_that_failed_says_why_and_what_to_do(instance: Instance) -> None:
    item = in_force(instance, state=ItemState.FAILED, reason="The card was too small.")
    seen()
    problem = only()
    assert (problem.code, problem.severity, problem.node) == ("plan_failed", "bad", "rog")
    assert problem.text == "chat is not served on rog/ollama: The card was too small."
    assert "Try again" in problem.next_step
    PlanItem.objects.filter(pk=item.pk).update(wish=ItemWish.UNLOAD)
    assert only().text.startswith("chat could not be ended on rog/ollama")


def test_what_its_owner_cancelled_is_one_line_of_a_node(instance: Instance) -> None:
    plan = in_force(instance, state=ItemState.FAILED, reason=CANCELLED).plan
    make_item(plan, instance, "code", state=ItemState.FAILED, reason=CANCELLED)
    gone: dict[str, Any] = {"state": ItemState.FAILED, "wish": ItemWish.UNLOAD}
    make_item(plan, instance, "old", reason=CANCELLED, **gone)
    seen()
    problem = only()
    assert (problem.code, problem.severity) == ("plan_cancelled", "attention")
    assert problem.text == "The plan was cancelled, so chat, code are not served on rog."
    assert problem.next_step == "On Planner: press Try again to go on with it, or plan anew."


def test_load_of_a_plan_that_failed_is_not_told_twice(instance: Instance) -> None:
    LoadJob.objects.create(
        instance=instance,
        model="x",
        wish=LoadWish.LOAD,
        state=LoadState.FAILED,
        by_plan=True,
    )
    seen()
    assert found() == []


def test_drift_that_is_about_to_be_mended_is_no_news(instance: Instance) -> None:
    drift(instance)
    seen()
    assert found() == []


@pytest.mark.parametrize(
    ("fields", "sample", "words", "step"),
    [
        (
            {"mended": 4, "mended_at": timezone.now()},
            {},
            "It was brought back 4 times within an hour and did not stay.",
            "",
        ),
        (
            {},
            {"gpus": holding(20)},
            "4.0 GiB are missing on rog/0: game.exe holds 20.0 GiB.",
            "plan anew",
        ),
        (
            {},
            {"instances": (ollama(loaded=(loaded("llama3:8b"),)),)},
            "llama3:8b is in use on ollama.",
            "unload that one",
        ),
    ],
)
def test_drift_that_is_not_mended_says_why(
    instance: Instance, fields: dict[str, Any], sample: dict[str, Any], words: str, step: str
) -> None:
    drift(instance, **fields)
    Plan.objects.update(others={"rog/0": {"game.exe": 20 * GIB}})
    seen(**sample)
    problem = only()
    assert (problem.code, problem.node) == ("plan_drift", "rog")
    assert problem.text.startswith("chat on rog/ollama: It is gone.")
    assert words in problem.text
    assert step in problem.next_step


def test_model_that_was_unloaded_by_hand_is_told_with_the_way_back(instance: Instance) -> None:
    drift(instance)
    LoadJob.objects.create(
        instance=instance,
        model="labdash/chat",
        wish=LoadWish.UNLOAD,
        state=LoadState.UNLOADED,
    )
    seen()
    problem = only()
    assert "It was unloaded by hand" in problem.text
    assert problem.next_step.startswith("Press Try again on Planner")


def test_known_fault_is_named(instance: Instance) -> None:
    item = drift(instance, "not-loaded", mended=4, mended_at=timezone.now())
    other = loaded("labdash/chat:latest").model_copy(update={"context_length": 4096})
    seen(instances=(ollama(loaded=(other,)),))
    problem = only()
    assert "was loaded with a context of 4,096 in place of 8,192" in problem.text
    assert problem.next_step.startswith("Let all programs use LabDash's name")
    item.delete()


@pytest.mark.parametrize(
    ("verdict", "residency", "severity"),
    [
        ("more", "resident", "info"),
        ("spilled", ON_DEMAND, "attention"),
        ("wrong-gpu", ON_DEMAND, "attention"),
    ],
)
def test_what_lies_otherwise_than_planned_is_told(
    instance: Instance, verdict: str, residency: str, severity: str
) -> None:
    drift(instance, verdict, residency=residency, verdict_text="It is elsewhere.")
    seen()
    problem = only()
    assert (problem.code, problem.severity) == ("plan_drift", severity)
    assert problem.text == "chat on rog/ollama: It is elsewhere."


def test_on_demand_model_that_nobody_asked_for_is_no_problem(instance: Instance) -> None:
    drift(instance, "not-loaded", residency=ON_DEMAND)
    seen()
    assert found() == []


@pytest.mark.parametrize("planned", [True, False])
def test_what_the_plan_has_on_the_cpu_is_no_problem_there(
    instance: Instance, planned: bool
) -> None:
    layers = {"rog/cpu": 37} if planned else {"rog/0": 37}
    in_force(instance, verdict="as-planned", alias="labdash/chat", layers=layers)
    on_cpu = loaded("labdash/chat:latest", vram_gib=0)
    seen(instances=(ollama(loaded=(on_cpu,)),), gpus=(gpu(),))
    assert ("model_on_cpu" in {each.code for each in found()}) is not planned


@pytest.mark.parametrize(
    ("verdict", "state", "told"),
    [
        ("spilled", ItemState.READY, set()),
        ("", ItemState.READY, set()),
        ("", ItemState.LOADING, set()),
        ("cannot-check", ItemState.READY, {"model_partly_on_cpu"}),
    ],
)
def test_what_the_plan_brings_back_from_the_cpu_is_nobody_elses_to_unload(
    instance: Instance, verdict: str, state: ItemState, told: set[str]
) -> None:
    drift(instance, verdict, state=state)
    split = loaded("labdash/chat:latest", vram_gib=4.5)
    seen(instances=(ollama(loaded=(split,)),), gpus=(gpu(),))
    assert {each.code for each in found()} == told


@pytest.mark.parametrize(("minutes", "told"), [(1, set()), (3, {"plan_drift"})])
def test_model_that_makes_room_for_another_is_told_only_where_that_lasts(
    instance: Instance, minutes: int, told: set[str]
) -> None:
    since = timezone.now() - timedelta(minutes=minutes)
    item = drift(instance, verdict_since=since)
    make_item(item.plan, instance, "wide", state=ItemState.LOADING)
    seen()
    assert {each.code for each in found()} == told


def test_program_that_took_memory_is_told_at_once_with_what_it_does(instance: Instance) -> None:
    item = in_force(instance, verdict="as-planned", bytes={"rog/0": 20 * GIB})
    seen(gpus=holding(6))
    problem = only()
    assert (problem.code, problem.severity, problem.subject) == (
        "memory_taken",
        "attention",
        "GPU-0",
    )
    assert problem.text == (
        "game.exe took 6.0 GiB of rog/0 since it was planned. chat stays as it is while it is in"
        " memory; to come back it lacks 2.0 GiB."
    )
    assert "End game.exe, or give the card back" in problem.next_step
    Gpu.objects.update(game_bytes=8 * GIB)
    assert "given back by itself from 8.0 GiB on" in only().next_step
    item.verdict = "evicted"
    item.save()
    texts = {each.code: each.text for each in found()}
    assert "chat had to leave or spilled: 2.0 GiB are missing." in texts["memory_taken"]


def test_program_beside_which_the_plan_fits_is_a_hint(instance: Instance) -> None:
    in_force(instance, verdict="as-planned")
    seen(gpus=holding(6))
    problem = only()
    assert (problem.severity, problem.next_step) == ("info", "Nothing: the plan fits beside it.")
    assert "All that is planned there still fits, with 12.0 GiB to spare." in problem.text


@pytest.mark.parametrize("gib", [0.3, 6.0])
def test_what_was_there_when_it_was_planned_is_no_news(instance: Instance, gib: float) -> None:
    in_force(instance, verdict="as-planned", bytes={"rog/0": 20 * GIB})
    Plan.objects.update(others={"rog/0": {"game.exe": 6 * GIB}})
    seen(gpus=holding(gib))
    assert found() == []


def test_cards_of_their_owners_are_told_with_what_the_plan_does(instance: Instance) -> None:
    Gpu.objects.update(game_on=True, game_bytes=4 * GIB)
    former = in_force(instance).plan
    why = "rog/0 was given back to its owner; not served meanwhile: chat."
    Plan.objects.filter(pk=former.pk).update(state="replaced")
    Plan.objects.create(state="current", instead_of=former, why=why)
    seen(gpus=holding(6))
    problem = only()
    assert (problem.code, problem.severity) == ("gpu_returned", "info")
    assert problem.text == (f"game.exe holds 6.0 GiB of rog/0: the plan leaves it the card. {why}")
    assert "a minute after those programs end" in problem.next_step
    Gpu.objects.update(given_back=True)
    assert only().text == why


def test_plan_that_was_asked_back_onto_a_card_of_its_owner_is_told(instance: Instance) -> None:
    Gpu.objects.update(game_on=True, game_bytes=4 * GIB)
    in_force(instance)
    Plan.objects.update(without=[Gpu.objects.get().pk])
    seen(gpus=holding(6))
    problem = only()
    assert problem.text == (
        "rog/0 is used by another program. The plan that you asked back has chat there."
    )
    assert (
        problem.next_step == "To leave the card to its owner: plan anew on Planner, and apply that."
    )


def test_status_tells_the_plan_with_its_verdicts(instance: Instance) -> None:
    item = in_force(instance, verdict="as-planned", observed={"rog/0": 6 * GIB})
    seen()
    plan = read_status(now=timezone.now())["plan"]
    assert (plan["id"], plan["state"], plan["why"]) == (item.plan_id, "current", None)
    (told,) = plan["items"]
    assert (told["deployment"], told["node"], told["name"], told["verdict"]) == (
        "chat",
        "rog",
        "labdash/chat",
        "as-planned",
    )
    assert told["planned_bytes"] == told["observed_bytes"] == {"rog/0": 6 * GIB}


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_queries_for_three_items_as_for_one(
    instance: Instance, count: int, django_assert_num_queries: Any
) -> None:
    item = in_force(instance, verdict="spilled", verdict_text="It is split.")
    for number in range(count - 1):
        make_item(item.plan, instance, f"m{number}", state=ItemState.FAILED)
    seen()
    with django_assert_num_queries(14):
        find_problems(read_lab(now=timezone.now()))
