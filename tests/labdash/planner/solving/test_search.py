"""Bounds: no plan is better than they say."""

import pytest

from labdash.planner.greedy import start
from labdash.planner.lab import Lab
from labdash.planner.score import PARTS
from labdash.planner.solve import Program, solve
from labdash.planner.solving.budget import Budget, Spent
from labdash.planner.solving.problem import Problem
from labdash.planner.solving.rows import Rows
from labdash.planner.solving.search import Search
from tests.planning.labs import even_lab, gpu_node, middle_lab, small_lab, want

NEARLY = 1e-6


def search_of(lab: Lab) -> Search:
    """Begin a search that has all the time it wants."""
    problem = Problem(lab)
    return Search(problem, start(problem), gap=0.0, budget=Budget(60.0, 1000, lambda: 0.0))


@pytest.mark.parametrize("seed", [1, 9, 17, 44, 58, 99])
def test_kinds_of_places_bound_the_value_of_a_small_lab(seed: int) -> None:
    search = search_of(small_lab(seed))
    search.compare(Program)
    best = solve(small_lab(seed), gap=0.0, limit_s=60.0)
    if search.sums().served == best.score.served:
        assert search.bound / PARTS >= best.score.value - NEARLY


def test_kinds_of_places_prove_what_needs_no_more() -> None:
    search = search_of(even_lab(0, nodes=4, cards=2, deployments=4))
    search.compare(Program)
    plan = search.plan()
    assert (plan.gap is not None, plan.limited_by) == (True, None)


def test_what_all_gpus_of_a_kind_cannot_hold_lowers_the_bound() -> None:
    names = ("llama3.1:8b", "qwen3:8b", "mistral:7b", "qwen2.5:7b")
    wanted = tuple(want(name, name, ("Q8_0", "Q4_K_M"), (8192, 8192)) for name in names)
    search = search_of(Lab(nodes=(gpu_node("rog", 4),), deployments=wanted))
    most = search.best.points
    search.compare(Program)
    assert search.bound < most


def test_what_no_lab_could_improve_is_done_at_once() -> None:
    wanted = (want("one", "llama3.2:1b", ("Q8_0",), (2048, 2048)),)
    search = search_of(Lab(nodes=(gpu_node("rog", 4),), deployments=wanted))
    assert search.is_done()


def test_a_search_without_time_ends_with_what_it_has() -> None:
    problem = Problem(small_lab(6))
    search = Search(problem, start(problem), gap=0.0, budget=Budget(0.0, 1000, lambda: 1.0))
    before = search.state.total
    search.run(Program)
    assert (search.state.total, search.budget.out_of_time) == (before, True)


def test_a_share_of_the_time_ends_before_the_rest_and_is_remembered() -> None:
    seconds = 0.0
    budget = Budget(10.0, 1000, lambda: seconds)
    with budget.share(0.5):
        assert budget.limits() == (5.0, 1000)
        seconds = 6.0
        with pytest.raises(Spent):
            budget.limits()
    assert budget.limits() == (4.0, 1000)
    assert budget.out_of_time


@pytest.mark.long
def test_stirring_leaves_time_to_prove() -> None:
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 0.05
        return seconds

    problem = Problem(middle_lab(4))
    search = Search(problem, start(problem), gap=0.01, budget=Budget(10.0, 20_000, clock))
    asked: list[float] = []

    def program(rows: Rows) -> Program:
        asked.append(seconds)
        return Program(rows)

    search.run(program)
    assert asked
    assert search.plan().gap is not None
