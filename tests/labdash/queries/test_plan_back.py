"""What going back to the plan before would change."""

import pytest
from django.utils import timezone

from labdash import live
from labdash.models import Instance, Plan, PlanItem, PlanState
from labdash.queries.lab import read_lab
from labdash.queries.plan_back import Back, view_back
from tests.factories import loaded, make_installed, make_instance, ollama, sample
from tests.plan_rows import in_force, make_item, make_plan

pytestmark = pytest.mark.django_db

LISTED = "hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M"
WRITTEN = "hf.co/Unsloth/qwen3-8b-gguf:q4_k_m"


def served(instance: Instance, plan: Plan, **fields: str) -> PlanItem:
    """Add a model that is served under its own name."""
    return make_item(plan, instance, **{"model": WRITTEN, "alias": "", **fields})


def back(*names: str) -> Back:
    """Compare the plan before with a server that has these models on its disk and in memory."""
    now = timezone.now()
    instance = Instance.objects.get()
    for name in names:
        make_installed(instance, name)
    models = tuple(loaded(name) for name in names)
    live.save_state(sample(instances=(ollama(loaded=models),)), arrived_at=now)
    return view_back(Plan.objects.get(state=PlanState.REPLACED), read_lab(now=now))


@pytest.fixture
def before() -> Plan:
    """Return a plan that was replaced."""
    make_instance()
    return make_plan(state=PlanState.REPLACED)


def test_what_is_missing_is_pulled_and_loaded(before: Plan) -> None:
    served(Instance.objects.get(), before)
    assert [(each.kind, each.model) for each in back().moves] == [
        ("pull", WRITTEN),
        ("load", WRITTEN),
    ]


def test_name_in_other_letters_is_the_same_model(before: Plan) -> None:
    served(Instance.objects.get(), before)
    assert back(LISTED).moves == ()


def test_latest_need_not_be_written(before: Plan) -> None:
    served(Instance.objects.get(), before, model="Nomic-Embed-Text")
    assert back("nomic-embed-text:latest").moves == ()


def test_what_the_plan_in_force_serves_by_the_same_name_in_other_letters_is_not_ended(
    before: Plan,
) -> None:
    instance = Instance.objects.get()
    served(instance, before)
    in_force(instance, model=LISTED, alias="")
    assert back(LISTED).moves == ()


def test_what_only_the_plan_in_force_serves_is_ended_under_its_name_as_written(
    before: Plan,
) -> None:
    instance = Instance.objects.get()
    in_force(instance, model=WRITTEN, alias="")
    (move,) = back(LISTED).moves
    assert (move.kind, move.text) == (
        "unload",
        f"{WRITTEN} leaves the memory of rog/ollama.",
    )
