"""What is made better, and for how long."""

from labdash.planner.lab import Lab
from labdash.planner.solving.improve import improve
from labdash.planner.solving.problem import Problem
from labdash.planner.solving.state import State
from tests.planning.labs import gpu_node, want


def least() -> State:
    """Hold the least choice of one deployment, where there is room for all that it wishes."""
    wanted = want("one", "llama3.1:8b", ("Q8_0", "Q4_K_M"), (4096, 16384))
    problem = Problem(Lab(nodes=(gpu_node("rog", 4),), deployments=(wanted,)))
    state = State(problem)
    *_, last = problem.columns_of(0)
    assert state.put(last)
    return state


def test_what_has_less_than_it_wishes_gets_it_where_there_is_room() -> None:
    state = least()
    improve(state)
    assert state.held[0] == [next(state.problem.columns_of(0))]


def test_nothing_is_sought_without_effort() -> None:
    state = least()
    before = state.total
    improve(state, effort=0)
    assert state.total == before
