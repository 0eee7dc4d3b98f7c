"""A model that is there in part has all the layers that fit beside its neighbours."""

from dataclasses import replace

import pytest

from labdash.planner.greedy import quick
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.solve import solve
from labdash.planner.solving.layers import give_layers, with_layers
from labdash.planner.solving.problem import Problem
from labdash.planner.solving.state import State
from tests.planning.checks import assert_holds
from tests.planning.labs import gpu_node, small_lab, want

LARGE = want("large", "phi4:14b", ("Q8_0",), (8192, 8192), offload_allowed=True)
SMALL = want("small", "llama3.1:8b", ("Q4_K_M",), (4096, 4096), priority=1)
LAB = Lab(nodes=(gpu_node("rog", 2),), deployments=(LARGE, SMALL))


def layers(plan: Plan) -> int:
    """Read how many layers of the large one are on the GPU."""
    (found,) = (p.choice for p in plan.placements if p.deployment.name == "large")
    assert found.form == "partial"
    assert found.num_gpu is not None
    return found.num_gpu


@pytest.mark.parametrize("planner", [quick, solve])
def test_one_layer_more_would_not_fit(planner: object) -> None:
    plan: Plan = planner(LAB)  # type: ignore[operator]
    assert_holds(LAB, plan)
    problem = Problem(LAB)
    number = [each.name for each in problem.wanted].index("large")
    small = next(problem.columns_of(1 - number))
    partial = next(c for c in problem.columns_of(number) if c.choice.form == "partial")

    def holds(count: int) -> bool:
        found = with_layers(problem, partial, count)
        return any(problem.verdict(0, (small, column)).holds for column in found)

    assert holds(layers(plan))
    assert not holds(layers(plan) + 1)


def test_what_would_be_all_on_the_cpu_gets_the_layers_that_there_is_room_for() -> None:
    large = want("large", "mistral-small:24b", ("Q8_0",), (4096, 4096), offload_allowed=True)
    small = want("small", "llama3.2:3b", ("Q8_0",), (4096, 4096), priority=1)
    lab = Lab(nodes=(gpu_node("rog", 1),), deployments=(large, small))
    for plan in (quick(lab), solve(lab)):
        assert_holds(lab, plan)
        assert plan.score.served == (1, 1)
        assert layers(plan) > 0


@pytest.mark.parametrize("seed", [3, 8, pytest.param(22, marks=pytest.mark.long)])
def test_a_plan_with_parts_is_the_start_of_another(seed: int) -> None:
    made = small_lab(seed)
    wanted = tuple(replace(each, offload_allowed=True) for each in made.deployments)
    lab = replace(made, deployments=wanted)
    plan = solve(lab)
    again = solve(lab, exact=False, start=plan)
    assert again.score.key[:-1] >= plan.score.key[:-1]


def test_number_that_is_the_most_in_an_empty_lab_is_left() -> None:
    lab = Lab(nodes=(gpu_node("rog", 2),), deployments=(LARGE,))
    problem = Problem(lab)
    state = State(problem)
    partial = [c for c in problem.columns_of(0) if c.choice.form == "partial"]
    most = max(partial, key=lambda column: column.choice.num_gpu or 0)
    assert state.put(most)
    give_layers(state)
    assert state.held[0] == [most]
