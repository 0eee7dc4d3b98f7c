from dataclasses import replace

import pytest

from labdash.planner.plan import Choice, Plan
from labdash.planner.telling.compare import Comparison, compare
from tests.planning.choices import choice, placed, plan_of, refused
from tests.planning.labs import variant, want

Q4, Q6 = variant("qwen3:14b", "Q4_K_M"), variant("qwen3:14b", "Q6_K")
CHAT = want("chat", "qwen3:14b", ("Q6_K", "Q4_K_M"), (4096, 32768))
OLD = choice(Q4)


def one(before: Plan, after: Plan) -> tuple[str, str]:
    (change,) = compare(before, after).changes
    return change.fate, change.text


def changed(after: Choice) -> tuple[str, str]:
    return one(plan_of(placed(CHAT, OLD)), plan_of(placed(CHAT, after)))


@pytest.mark.parametrize(
    ("after", "fate", "text"),
    [
        (OLD, "same", "chat stays as it is."),
        (replace(OLD, tokens_per_s=41.0), "same", "chat stays as it is."),
        (replace(OLD, ctx=16384), "better", "chat: context 16k instead of 8k."),
        (replace(OLD, ctx=4096), "worse", "chat: context 4k instead of 8k."),
        (replace(OLD, variant=Q6), "better", "chat: Q6_K instead of Q4_K_M."),
        (
            replace(OLD, tokens_per_s=9.5),
            "worse",
            "chat: about 9.5 tokens/s instead of 40 tokens/s.",
        ),
        (
            replace(OLD, ctx=16384, layers={"rog/0": 31, "rog/cpu": 10}),
            "mixed",
            "chat: context 16k instead of 8k and 10 instead of 0 layers on the CPU.",
        ),
        (
            choice(Q4, "tower/0"),
            "moved",
            "chat: on tower/0 (tower:11434) instead of rog/0 (rog:11434).",
        ),
    ],
)
def test_a_placement_is_told_by_its_differences(after: Choice, fate: str, text: str) -> None:
    assert changed(after) == (fate, text)


def test_what_is_served_at_last_is_told_with_its_place() -> None:
    assert one(plan_of(refusals=(refused(CHAT),)), plan_of(placed(CHAT, OLD))) == (
        "served",
        "chat is served: Q4_K_M at 8k on rog/0 (rog:11434).",
    )


def test_what_is_served_no_more_is_told_with_its_reason() -> None:
    assert one(plan_of(placed(CHAT, OLD)), plan_of(refusals=(refused(CHAT),))) == (
        "refused",
        "chat is no longer served: no room.",
    )


def test_a_deployment_may_come_go_or_stay_refused() -> None:
    nothing = plan_of()
    without = plan_of(refusals=(refused(CHAT),))
    assert one(nothing, without) == ("refused", "chat is refused: no room.")
    assert one(without, without) == ("same", "chat stays refused.")
    assert one(without, nothing) == ("gone", "chat is no longer asked for.")
    assert one(plan_of(placed(CHAT, OLD)), nothing)[0] == "gone"


def counted() -> Comparison:
    second = replace(CHAT, name="second")
    third = replace(CHAT, name="third")
    before = plan_of(placed(CHAT, OLD), placed(second, OLD), refusals=(refused(third),))
    after = plan_of(placed(CHAT, OLD), placed(second, replace(OLD, ctx=16384)), placed(third, OLD))
    return compare(before, after)


def test_changes_are_counted_and_the_great_ones_come_first() -> None:
    found = counted()
    assert [each.deployment for each in found.changes] == ["third", "second", "chat"]
    assert found.counts == {"served": 1, "better": 1, "same": 1}
    assert (found.served_before, found.served_after) == (2, 3)
    assert found.text == "3 served instead of 2, 1 more served, 1 better, 1 as before."


def test_copies_are_told_apart() -> None:
    before = plan_of(placed(CHAT, OLD), placed(CHAT, OLD, replica=1))
    after = plan_of(placed(CHAT, OLD), refusals=(refused(CHAT, replica=1),))
    texts = [each.text for each in compare(before, after).changes]
    assert texts == ["chat, copy 2 is no longer served: no room.", "chat stays as it is."]


def test_no_deployments_make_no_sentence() -> None:
    assert compare(plan_of(), plan_of()).text == "Nothing is asked for."
