"""A plan as its page tells it: sentences, what each gave up, bars."""

from dataclasses import replace

import pytest

from labdash.models import Deployment as Wanted
from labdash.models import Gpu, PlanItem
from labdash.planner.lab import Lab
from labdash.planner.plan import DeviceLoad, Plan, Unproved
from labdash.queries.library import Library
from labdash.queries.planner_page import (
    Seen,
    certainty,
    headline,
    view_plan,
    where,
    wishes,
    wishes_alone,
)
from tests.planning.choices import choice, placed, plan_of, refused
from tests.planning.labs import GIB, gpu_node, variant, want

Q4, Q6 = variant("qwen3:14b", "Q4_K_M"), variant("qwen3:14b", "Q6_K")
CHAT = want("chat", "qwen3:14b", ("Q6_K", "Q4_K_M"), (4096, 8192))
LAB = Lab(nodes=(gpu_node("rog", 4, 4),), deployments=(CHAT,))
SEEN = Seen(library=Library(families={}, quants={}))


def row(**fields: object) -> Wanted:
    values: dict[str, object] = {"ctx_floor": 4096, "ctx_wish": 8192, "name": "chat", **fields}
    return Wanted(pk=1, model="qwen3:14b", **values)


def badge(plan: Plan, **fields: object) -> tuple[str, str]:
    (view,) = view_plan(plan, LAB, [row(**fields)], SEEN, stage="exact").deployments
    assert view.badge is not None
    return view.badge.text, view.badge.level


@pytest.mark.parametrize(
    ("served", "not_served", "said"),
    [
        (0, 0, "Nothing is asked for."),
        (1, 0, "It fits."),
        (6, 0, "All six fit."),
        (5, 1, "Five of six fit."),
        (1, 2, "One of three fits."),
        (0, 1, "It does not fit."),
        (0, 3, "None of the three fits."),
        (13, 1, "13 of 14 fit."),
    ],
)
def test_headline_counts_in_words(served: int, not_served: int, said: str) -> None:
    plan = plan_of(*[placed(CHAT, choice(Q4))] * served, refusals=(refused(CHAT),) * not_served)
    assert headline(plan) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gap": 0.0}, "Proved best for your order of priorities"),
        ({"gap": 0.004}, "Within 0.4 % of the best possible"),
        (
            {"gap": 0.021, "limited_by": "time"},
            "Within 2.1 % of the best possible when the time for the search was over",
        ),
        ({"gap": None}, "Not proved to be the best"),
        (
            {"gap": None, "unproved": Unproved(part="served", got=7, bound=8, priority=2)},
            "Not proved to be the best: 7 served at priority 2, perhaps 8 can be",
        ),
        (
            {"gap": None, "unproved": Unproved(part="cpu", got=1, bound=0)},
            "Not proved to be the best: 1 layer on the CPU, perhaps none need be",
        ),
    ],
)
def test_certainty_says_how_far_from_the_best(changes: dict[str, object], said: str) -> None:
    plan = replace(plan_of(), **changes)  # type: ignore[arg-type]
    assert certainty(plan, "exact") == said
    assert certainty(plan, "quick") == "A quick answer; still looking for a better one"


def test_wish_that_is_met_gave_nothing_up() -> None:
    assert badge(plan_of(placed(CHAT, choice(Q6)))) == ("as wished", "good")


def test_less_context_and_a_smaller_quant_are_named_with_figures() -> None:
    plan = plan_of(placed(CHAT, choice(Q4, ctx=4096)))
    assert badge(plan) == ("less context and smaller quant", "attention")
    (view,) = view_plan(plan, LAB, [row()], SEEN, stage="exact").deployments
    assert view.placements[0].gave_up == {"ctx": "4k of 8k", "quant": "Q4_K_M, not Q6_K"}


def test_wish_beyond_what_the_model_was_trained_with_is_not_held_against_it() -> None:
    greedy = replace(CHAT, ctx_wish=2**20)
    plan = plan_of(placed(greedy, choice(Q6, ctx=40960)))
    assert badge(plan) == ("as wished", "good")


def test_layers_on_the_cpu_are_counted() -> None:
    split = choice(Q6, layers={"rog/0": 30, "rog/cpu": 11}, form="partial")
    plan = plan_of(placed(CHAT, split))
    assert badge(plan) == ("partly on the CPU", "attention")
    assert where(split) == "GPU 0 and the CPU of rog"
    on_host = replace(split, layers={"rog/cpu": 41}, bytes={}, form="cpu")
    assert badge(plan_of(placed(CHAT, on_host))) == ("on the CPU", "attention")
    assert where(on_host) == "the CPU of rog"


def test_refusal_stands_beside_the_copies_that_are_served() -> None:
    plan = plan_of(placed(CHAT, choice(Q6)), refusals=(refused(CHAT, replica=1),))
    assert badge(plan, replicas=2) == ("1 of 2 copies", "bad")
    assert badge(plan_of(refusals=(refused(CHAT),))) == ("refused", "bad")


def test_wishes_are_one_line_from_the_least_up() -> None:
    full = row(quant_floor="Q4_K_M", quant_wish="Q6_K", replicas=2, residency="on-demand")
    assert wishes(full) == "Q4_K_M to Q6_K · 4k to 8k · on demand · 2 copies"
    assert wishes(row(quant_wish="Q6_K", ctx_wish=4096)) == "up to Q6_K · 4k · stays in memory"
    assert wishes_alone([full], SEEN.library)[0].badge is None


def devices(planned_gib: float) -> tuple[DeviceLoad, ...]:
    size = int(planned_gib * GIB)
    return (
        DeviceLoad(
            node="rog", device="rog/0", total_bytes=24 * GIB, reserved_bytes=0, planned_bytes=size
        ),
    )


def bar_parts(plan: Plan, lab: Lab = LAB) -> list[tuple[str, str, float]]:
    view = view_plan(plan, lab, [row()], SEEN, stage="exact")
    bar = view.nodes[0].devices[0].bar
    assert sum(part.size_bytes for part in bar.segments) == bar.total_bytes
    return [(part.kind, part.label, part.size_bytes / GIB) for part in bar.segments]


def test_bar_holds_residents_others_reserve_and_margin() -> None:
    node = LAB.nodes[0]
    kept = replace(node.cards[0], reserve_bytes=2 * GIB)
    lab = Lab(nodes=(replace(node, cards=(kept, node.cards[1])),), deployments=(CHAT,))
    plan = replace(plan_of(placed(CHAT, choice(Q6))), devices=devices(10))
    assert bar_parts(plan, lab) == [
        ("model", "chat", 10.0),
        ("other", "others now", 0.5),
        ("reserve", "kept for its owner", 2.0),
        ("margin", "margin", 1.0),
        ("free", "free", 10.5),
    ]


def test_bar_shows_those_on_demand_once_as_large_as_the_largest() -> None:
    small = replace(CHAT, name="small", residency="on-demand")
    large = replace(CHAT, name="large", residency="on-demand")
    plan = plan_of(
        placed(small, choice(Q4, bytes={"rog/0": 4 * GIB})),
        placed(large, choice(Q4, bytes={"rog/0": 6 * GIB})),
    )
    assert bar_parts(replace(plan, devices=devices(6)))[0] == (
        "demand",
        "in turns: small, large",
        6.0,
    )


def test_what_shares_a_runner_is_drawn_once() -> None:
    shared = replace(placed(replace(CHAT, name="other"), choice(Q6)), shares="chat")
    plan = replace(plan_of(placed(CHAT, choice(Q6)), shared), devices=devices(10))
    assert [part[:2] for part in bar_parts(plan)][:2] == [
        ("model", "chat"),
        ("other", "others now"),
    ]


def test_ram_has_a_bar_where_layers_are_planned_on_it() -> None:
    split = choice(Q6, layers={"rog/0": 30, "rog/cpu": 11}, host_bytes=7 * GIB)
    view = view_plan(plan_of(placed(CHAT, split)), LAB, [row()], SEEN, stage="exact")
    ram = view.nodes[0].devices[-1]
    assert (ram.bar.label, ram.planned_bytes) == ("RAM", 7 * GIB)
    assert sum(part.size_bytes for part in ram.bar.segments) == ram.bar.total_bytes


def test_mark_of_what_is_measured_shows_only_beside_a_plan_in_force() -> None:
    seen = replace(SEEN, measured={"rog/0": 9 * GIB}, gpus={"rog/0": Gpu(given_back=True)})
    view = view_plan(plan_of(placed(CHAT, choice(Q6))), LAB, [row()], seen, stage="exact")
    first = view.nodes[0].devices[0]
    assert (first.bar.mark_bytes, first.owner) == (None, "given back to its owner")
    seen = replace(seen, items=(PlanItem(deployment_name="code"),))
    view = view_plan(plan_of(placed(CHAT, choice(Q6))), LAB, [row()], seen, stage="exact")
    assert view.nodes[0].devices[0].bar.mark_bytes == 9 * GIB
