"""Plans at once."""

import pytest

from labdash.planner.greedy import quick
from labdash.planner.lab import Deployment, Lab
from tests.planning.checks import assert_holds
from tests.planning.labs import gpu_node, mac, small_lab, want


@pytest.mark.parametrize("seed", range(20, 30))
def test_a_quick_plan_holds(seed: int) -> None:
    lab = small_lab(seed)
    assert_holds(lab, quick(lab))


def test_what_gets_all_that_it_wishes_leaves_no_gap() -> None:
    plan = quick(Lab(nodes=(gpu_node("rog", 5),), deployments=(wish("one"),)))
    assert (plan.status, plan.gap, plan.score.value) == ("feasible", 0.0, 1.0)


def test_a_refusal_leaves_the_gap_unknown() -> None:
    nodes = (gpu_node("rog", 2),)
    wanted = (wish("one"), want("other", "gemma3:12b", ("Q5_K_M",), (8192, 8192)))
    plan = quick(Lab(nodes=nodes, deployments=wanted))
    assert (plan.score.served, plan.gap) == ((1,), None)


def test_who_matters_most_is_served_first() -> None:
    least = want("least", "gemma3:12b", ("Q5_K_M",), (8192, 8192), priority=5)
    wanted = (least, wish("most", priority=1))
    plan = quick(Lab(nodes=(gpu_node("rog", 2),), deployments=wanted))
    assert [each.deployment.name for each in plan.placements] == ["most"]


def test_one_gives_way_for_two() -> None:
    nodes = (gpu_node("rog", 2), gpu_node("tuf", 4))
    small = want("small", "llama3.2:1b", ("Q8_0",), (2048, 2048))
    wanted = (small, wish("one", nodes=frozenset({"rog"})), wish("two"))
    plan = quick(Lab(nodes=nodes, deployments=wanted))
    assert plan.score.served == (3,)


def test_memory_of_a_mac_counts_once() -> None:
    plan = quick(Lab(nodes=(mac("mac", 24),), deployments=(wish("one"), wish("two"))))
    gpu, ram = plan.devices
    assert (gpu.planned_bytes > 0, ram.planned_bytes > 0) == (True, True)
    assert gpu.planned_bytes + ram.planned_bytes <= 19 * 2**30


def wish(name: str, **changes: object) -> Deployment:
    """Wish for a model of 8 GiB or more."""
    return want(name, "llama3.1:8b", ("Q8_0",), (8192, 8192), **changes)
