"""Plans of whole labs: none is better, none lies about itself."""

from dataclasses import replace
from itertools import count

import pytest

from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.solve import solve
from tests.planning.checks import assert_holds
from tests.planning.enumerating import best_score
from tests.planning.labs import even_lab, gpu_node, small_lab, want

# Labs of many kinds that are tried out in no time; all others are tried in tests/benchmarks.
SEEDS = (1, 5, 8, 9, 17, 28, 35, 41, 44, 52, 57, 58, 63, 72, 77, 86, 99, 113, 137, 150)
MOST_WAYS = 3000


def plan_of(lab: Lab) -> Plan:
    """Plan a small lab: whatever gap is asked for, to the end."""
    return solve(lab, limit_s=60)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_plan_of_a_small_lab_is_better(seed: int) -> None:
    lab = small_lab(seed)
    plan = plan_of(lab)
    assert plan.score.key == best_score(lab, most=MOST_WAYS)
    assert (plan.status, plan.gap) == ("optimal" if plan.placements else "infeasible", 0.0)
    assert_holds(lab, plan)


def shown(plan: Plan) -> list[tuple[object, ...]]:
    """Write placements as they can be compared."""
    return [
        (each.deployment.name, each.replica, each.choice.instance, each.choice.bytes)
        for each in plan.placements
    ]


@pytest.mark.parametrize("seed", [6, 17, 58])
def test_the_same_lab_gets_the_same_plan(seed: int) -> None:
    assert shown(plan_of(small_lab(seed))) == shown(plan_of(small_lab(seed)))


@pytest.mark.parametrize("seed", [6, 17, 58])
def test_the_order_of_nodes_and_deployments_does_not_matter(seed: int) -> None:
    lab = small_lab(seed)
    turned = Lab(nodes=lab.nodes[::-1], deployments=lab.deployments[::-1])
    assert plan_of(turned).score == plan_of(lab).score


def test_a_lab_without_nodes_serves_nothing() -> None:
    lab = Lab(nodes=(), deployments=(want("a", "llama3.2:1b", ("Q4_K_M",), (2048, 4096)),))
    plan = solve(lab)
    assert (plan.status, plan.placements, len(plan.refusals)) == ("infeasible", (), 1)


def test_a_lab_without_wishes_is_planned_at_once() -> None:
    plan = solve(Lab(nodes=(gpu_node("rog", 2),), deployments=()))
    assert (plan.status, plan.placements, plan.refusals) == ("optimal", (), ())


def test_what_others_took_is_told_so() -> None:
    one = want("one", "llama3.1:8b", ("Q8_0",), (8192, 8192), priority=1)
    other = want("other", "gemma3:12b", ("Q5_K_M",), (8192, 8192))
    plan = plan_of(Lab(nodes=(gpu_node("rog", 2),), deployments=(other, one)))
    assert [each.deployment.name for each in plan.placements] == ["one"]
    assert [(each.deployment.name, each.limit) for each in plan.refusals] == [("other", "lost")]


def test_two_deployments_of_a_file_share_its_runner() -> None:
    wanted = [want(name, "llama3.1:8b", ("Q8_0",), (8192, 8192)) for name in ("one", "other")]
    plan = plan_of(Lab(nodes=(gpu_node("rog", 2),), deployments=tuple(wanted)))
    assert {each.deployment.name: each.shares for each in plan.placements} == {
        "one": None,
        "other": "one",
    }


def test_those_kept_apart_share_no_gpu() -> None:
    one = want("one", "llama3.2:1b", ("Q8_0",), (8192, 8192), keep_apart=frozenset({"other"}))
    other = want("other", "llama3.2:3b", ("Q8_0",), (8192, 8192))
    plan = plan_of(Lab(nodes=(gpu_node("rog", 2, 2),), deployments=(one, other)))
    first, second = (each.choice.devices for each in plan.placements)
    assert not first & second


def test_replicas_lie_on_instances_of_their_own() -> None:
    wanted = want("one", "llama3.2:1b", ("Q8_0",), (4096, 4096), replicas=2)
    nodes = (gpu_node("rog", 4, instances=2),)
    plan = plan_of(Lab(nodes=nodes, deployments=(wanted,)))
    assert [each.choice.instance for each in plan.placements] == ["rog:11434", "rog:11435"]


def test_a_plan_that_ran_out_of_time_says_so() -> None:
    lab = small_lab(6)
    ticks = count(0, 100)
    plan = solve(lab, gap=0.0, limit_s=1.0, clock=lambda: float(next(ticks)))
    assert (plan.limited_by, plan.status) == ("time", "feasible")
    assert plan.gap is not None
    assert plan.gap > 0
    assert_holds(lab, plan)


def test_a_plan_that_ran_out_of_nodes_blames_no_clock() -> None:
    plan = solve(small_lab(6), gap=0.0, node_limit=0)
    assert (plan.limited_by, plan.status) == (None, "feasible")


def test_a_plan_before_is_where_the_next_begins() -> None:
    lab = small_lab(6)
    best = plan_of(lab)
    assert solve(lab, exact=False, start=best).score == best.score


def test_a_card_given_back_shrinks_the_plan() -> None:
    lab = Lab(
        nodes=(gpu_node("rog", 4),),
        deployments=(want("one", "qwen3:14b", ("Q8_0", "Q4_K_M"), (8192, 16384)),),
    )
    (card,) = lab.nodes[0].cards
    less = replace(lab.nodes[0], cards=(replace(card, used_bytes=12 * 2**30),))
    before, after = plan_of(lab), plan_of(replace(lab, nodes=(less,)))
    quants = [plan.placements[0].choice.variant.quant for plan in (before, after)]
    assert quants == ["Q8_0", "Q4_K_M"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_plan_at_once_holds(seed: int) -> None:
    lab = even_lab(seed, nodes=4, cards=2, deployments=8)
    assert_holds(lab, solve(lab, exact=False))
