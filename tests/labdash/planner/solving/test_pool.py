"""What was seen is put together to the best plan of it, never to a worse one."""

import pytest

from labdash.planner.greedy import start
from labdash.planner.lab import Lab
from labdash.planner.solve import Program
from labdash.planner.solving.bound import best_of, sums_of
from labdash.planner.solving.budget import Budget
from labdash.planner.solving.pool import recombine
from labdash.planner.solving.problem import Problem
from labdash.planner.solving.program import POINT, Part
from labdash.planner.solving.state import State
from tests.planning.labs import gpu_node, small_lab, want


def ample() -> Budget:
    """Give all the time that is wanted."""
    return Budget(60.0, 1000, lambda: 0.0)


def parts(problem: Problem) -> list[Part]:
    """Count who is served, of one priority, and how well."""
    best = best_of(problem)
    served = Part("served", lambda sums: sum(sums.served), lambda _: 1, sum(best.served))
    return [served, Part("points", lambda sums: sums.points, _points, best.points, POINT)]


def _points(group: object) -> int:
    raise AssertionError("sets count as they came out, not as their columns promise")


def test_two_halves_that_were_seen_apart_make_one_plan() -> None:
    wanted = tuple(
        want(name, name, ("Q8_0",), (4096, 4096)) for name in ("llama3.1:8b", "mistral:7b")
    )
    problem = Problem(Lab(nodes=(gpu_node("fox", 2), gpu_node("rog", 2)), deployments=wanted))
    state = State(problem)
    first, second = (
        next(c for c in problem.columns_of(number) if c.node == number) for number in (0, 1)
    )
    assert state.put(first)
    assert state.take(first)
    assert state.put(second)
    recombine(state, parts(problem), Program, budget=ample())
    assert [len(held) for held in state.held] == [1, 1]


@pytest.mark.parametrize("seed", range(0, 28, 3))
def test_what_was_seen_and_left_is_found_again(seed: int) -> None:
    problem = Problem(small_lab(seed))
    state = start(problem)
    best = sums_of(problem, state.sets)
    assert best.points
    state.restore([()] * len(state.sets))
    recombine(state, parts(problem), Program, budget=ample())
    again = sums_of(problem, state.sets)
    assert (sum(again.served), again.points) >= (sum(best.served), best.points)


def test_without_time_nothing_changes() -> None:
    problem = Problem(small_lab(6))
    state = start(problem)
    before = state.total
    recombine(state, parts(problem), Program, budget=Budget(0.0, 1000, lambda: 1.0))
    assert state.total == before
