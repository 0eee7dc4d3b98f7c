from dataclasses import replace

import pytest

from labdash.planner.explain import explained
from labdash.planner.greedy import quick
from labdash.planner.lab import Lab
from tests.planning.labs import gpu_node, small_lab, want


def lab() -> Lab:
    return Lab(
        nodes=(gpu_node("rog", 1),),
        deployments=(
            want("first", "llama3.2:3b", ("Q8_0",), (8192, 8192), priority=1),
            want("second", "llama3.1:8b", ("Q8_0",), (8192, 8192)),
        ),
    )


def test_a_plan_gets_reasons_refusals_and_moves() -> None:
    plan = quick(lab())
    told = explained(lab(), plan)
    assert told.placements[0].reasons
    assert told.refusals[0].text.startswith("It needs ")
    assert [each.kind for each in told.moves] == ["pull", "load"]
    assert replace(told, placements=plan.placements, refusals=plan.refusals, moves=()) == plan


def test_a_name_to_keep_apart_from_that_nobody_has_is_told() -> None:
    first, second = lab().deployments
    apart = replace(first, keep_apart=frozenset({"second", "whisper", "comfy"}))
    here = replace(lab(), deployments=(apart, second))
    assert explained(here, quick(here)).warnings == (
        "first is kept apart from comfy and whisper, which no deployment is named.",
    )


@pytest.mark.parametrize("seed", range(3, 40, 9))
def test_every_sentence_is_one(seed: int) -> None:
    here = small_lab(seed)
    told = explained(here, quick(here))
    texts = [reason for each in told.placements for reason in each.reasons]
    texts += [way.text for each in told.refusals for way in each.nearest]
    texts += [each.text for each in told.refusals] + [each.text for each in told.moves]
    for text in texts:
        assert text.endswith("."), text
        assert "  " not in text, text
        assert "None" not in text, text
        assert "-0." not in text, text
        assert text[0].isupper() or text[0].isdigit() or ":" in text or "/" in text, text


def test_the_same_plan_is_told_in_the_same_words() -> None:
    here = small_lab(7)
    plan = quick(here)
    assert explained(here, plan) == explained(here, plan)
