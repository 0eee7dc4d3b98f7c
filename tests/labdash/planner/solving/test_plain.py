"""What sums alone rule out: never what a node would hold."""

from dataclasses import replace
from itertools import combinations

import pytest

from labdash.planner.lab import Lab
from labdash.planner.solving.plain import may_hold
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.state import State
from tests.planning.labs import gpu_node, small_lab, want

CHAT = want("chat", "llama3.1:8b", ("Q8_0",), (4096, 4096))
CODE = want("code", "qwen2.5-coder:7b", ("Q8_0",), (4096, 4096))


def best_of(problem: Problem) -> list[Column]:
    """Take the best column of each deployment."""
    return [next(problem.columns_of(number)) for number in range(len(problem.wanted))]


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_ruled_out_that_a_node_holds(seed: int) -> None:
    problem = Problem(small_lab(seed))
    columns = [c for number in range(len(problem.wanted)) for c in problem.columns_of(number)]
    sure = [column for column in columns if column.sure][:40]
    for pair in combinations(sure, 2):
        if pair[0].node == pair[1].node and pair[0].wanted != pair[1].wanted:
            holds = problem.verdict(pair[0].node, pair).holds
            assert may_hold(problem, pair[0].node, pair) or not holds


def test_a_disk_that_takes_one_of_two_files_rules_both_out() -> None:
    node = replace(gpu_node("rog", 4), disk_free_bytes=10 << 30)
    problem = Problem(Lab(nodes=(node,), deployments=(CHAT, CODE)))
    both = best_of(problem)
    assert [may_hold(problem, 0, [each]) for each in both] == [True, True]
    assert not may_hold(problem, 0, both)


def test_a_file_that_two_deployments_share_is_fetched_once() -> None:
    node = replace(gpu_node("rog", 4), disk_free_bytes=10 << 30)
    again = want("again", "llama3.1:8b", ("Q8_0",), (4096, 4096))
    problem = Problem(Lab(nodes=(node,), deployments=(CHAT, again)))
    assert may_hold(problem, 0, best_of(problem))


def test_one_file_with_two_contexts_on_one_server_is_ruled_out() -> None:
    longer = want("longer", "llama3.1:8b", ("Q8_0",), (8192, 8192))
    problem = Problem(Lab(nodes=(gpu_node("rog", 4),), deployments=(CHAT, longer)))
    assert not may_hold(problem, 0, best_of(problem))


def test_guests_take_turns_where_residents_would_not_fit() -> None:
    names = ("llama3.1:8b", "qwen2.5-coder:7b", "mistral:7b")
    for resident in (True, False):
        wanted = tuple(
            replace(
                want(name, name, ("Q8_0",), (4096, 4096)),
                residency="resident" if resident else "on-demand",
            )
            for name in names
        )
        problem = Problem(Lab(nodes=(gpu_node("rog", 2),), deployments=wanted))
        assert may_hold(problem, 0, best_of(problem)) is not resident


def test_a_full_disk_leaves_nothing_to_look_at() -> None:
    node = replace(gpu_node("rog", 4), disk_free_bytes=10 << 30)
    state = State(Problem(Lab(nodes=(node,), deployments=(CHAT, CODE))))
    assert list(state.options(1, above=0))
    assert state.put(next(state.options(0, above=0)))
    assert not list(state.options(1, above=0))
