"""Marks on bars: what a plan in force expects of each GPU."""

import pytest
from django.utils import timezone

from labdash.models import Gpu, ItemWish, Node, Plan, PlanItem, PlanState, Residency
from labdash.queries.lab import read_lab
from labdash.queries.overview import read_overview
from labdash.queries.plan_marks import left_out_of
from labdash.queries.snapshot import snapshot
from tests.labdash.views.sample_lab import GIB, add, gpu, loaded, process, reading, sample

pytestmark = pytest.mark.django_db


def lab(*names: str) -> Node:
    """Store a machine whose card holds 5 GiB of each model."""
    processes = tuple(process(11 + n, "ollama", 5, name) for n, name in enumerate(names))
    card = gpu("GPU-rog-0", 0, "NVIDIA GeForce RTX 3090", 24, processes=processes)
    return add(sample("rog", [card], [reading(*(loaded(name, 5, 5) for name in names))]))


def item(node: Node, model: str, size_gib: float, **fields: object) -> PlanItem:
    """Put a model on the first card of a machine, in the plan in force."""
    plan, _ = Plan.objects.get_or_create(state=PlanState.CURRENT)
    values = {"bytes": {f"{node.slug}/0": int(size_gib * GIB)}, **fields}
    return PlanItem.objects.create(
        plan=plan, instance=node.instances.all()[0], model=model, **values
    )


def seen() -> tuple[float | None, str]:
    """Return the mark of the one card in GiB, and what is said of its owner."""
    view = read_overview(now=timezone.now()).cards[0].gpus[0]
    mark = view.bar.mark_bytes
    return (None if mark is None else mark / GIB), view.owner


def test_no_mark_without_a_plan() -> None:
    lab("qwen3:8b")
    assert seen() == (None, "")


def test_residents_add_up_whether_or_not_they_are_loaded() -> None:
    node = lab("qwen3:8b")
    item(node, "qwen3:8b", 5.5, alias="labdash/qwen3-8b")
    item(node, "gemma3:4b", 4)
    assert seen() == (9.5, "")


def test_on_demand_counts_only_while_it_is_loaded() -> None:
    node = lab("labdash/gemma:latest")
    item(node, "gemma3:4b", 4, alias="labdash/gemma", residency=Residency.ON_DEMAND)
    item(node, "qwen3:8b", 6, alias="labdash/qwen", residency=Residency.ON_DEMAND)
    assert seen() == (4.0, "")


def test_card_that_the_plan_leaves_empty_is_marked_at_nothing() -> None:
    node = lab("qwen3:8b")
    item(node, "qwen3:8b", 5, bytes={"rog/1": 5 * GIB})
    assert seen() == (0.0, "")


def test_plans_of_the_past_and_what_a_plan_ends_leave_no_mark() -> None:
    node = lab("qwen3:8b")
    item(node, "qwen3:8b", 5, wish=ItemWish.UNLOAD)
    assert (read_lab(now=timezone.now()).served, seen()) == ((), (None, ""))
    item(node, "qwen3:8b", 5)
    Plan.objects.update(state=PlanState.REPLACED)
    assert read_lab(now=timezone.now()).served == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"given_back": True}, "given back to its owner"),
        ({"game_on": True}, "given back while other programs use it"),
        ({}, ""),
    ],
)
def test_card_of_its_owner_says_so(fields: dict[str, bool], said: str) -> None:
    lab()
    Gpu.objects.update(**fields)
    assert seen() == (None, said)


def test_what_ollama_leaves_out_of_a_planned_model_is_not_taken_for_others() -> None:
    told = loaded("labdash/gemma:latest", 12, 12).model_copy(update={"leaves_out_context": True})
    card = gpu(
        "mac", 0, "Apple M2 Max", 48, processes=(), memory_used_bytes=20 * GIB,
        memory_reserved_bytes=None,
    )  # fmt: skip
    node = add(sample("studio", [card], [reading(told)]))

    def used() -> float:
        return snapshot(now=timezone.now()).nodes[0].cards[0].used_bytes / GIB

    assert used() == 8.0
    item(node, "gemma3:12b", 16, alias="labdash/gemma", left_out_bytes=4 * GIB)
    assert used() == 4.0
    assert seen() == (None, "")


def test_names_are_compared_as_ollama_does() -> None:
    node = lab("hf.co/unsloth/Gemma-3-4B-it-GGUF:Q4_K_M")
    name = "hf.co/unsloth/gemma-3-4b-it-gguf:q4_k_m"
    item(node, name, 4, residency=Residency.ON_DEMAND, left_out_bytes=GIB)
    assert seen() == (4.0, "")
    view = read_lab(now=timezone.now())
    assert left_out_of(view.served) == {("rog", name): GIB}
