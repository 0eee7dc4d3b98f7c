"""Rows that any plan keeps to: a plan that they shut out would never be found."""

import pytest

from labdash.planner.greedy import start
from labdash.planner.lab import Lab
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.relaxation import rows_of
from labdash.planner.solving.rows import Rows
from tests.planning.labs import even_lab, gpu_node, small_lab, want

NEARLY = 1e-6


def broken(rows: Rows, columns: list[Column], chosen: list[Column]) -> list[int]:
    """Return the rows that a choice does not keep to."""
    numbers = {column.number: number for number, column in enumerate(columns)}
    values = rows.completed(frozenset(numbers[column.number] for column in chosen))
    sums = [sum(factor * values[key] for key, factor in row.entries.items()) for row in rows.rows]
    return [
        number
        for number, (row, total) in enumerate(zip(rows.rows, sums, strict=True))
        if not row.lower - NEARLY <= total <= row.upper + NEARLY
    ]


def columns_of(problem: Problem) -> list[Column]:
    return [each for wanted in range(len(problem.wanted)) for each in problem.columns_of(wanted)]


@pytest.mark.parametrize("seed", range(30, 60))
def test_a_plan_of_a_small_lab_keeps_to_all_rows(seed: int) -> None:
    keeps_to_all(small_lab(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_plan_of_a_rack_keeps_to_all_rows(seed: int) -> None:
    keeps_to_all(even_lab(seed, nodes=4, cards=2, deployments=12))


def keeps_to_all(lab: Lab) -> None:
    problem = Problem(lab)
    state, columns = start(problem), columns_of(problem)
    chosen = [column for held in state.sets for column in held]
    assert broken(rows_of(problem, columns), columns, chosen) == []


def test_two_that_are_larger_than_their_gpu_break_a_row() -> None:
    wanted = (
        want("one", "llama3.1:8b", ("Q8_0",), (8192, 8192)),
        want("two", "gemma3:12b", ("Q5_K_M",), (8192, 8192)),
    )
    problem = Problem(Lab(nodes=(gpu_node("rog", 2),), deployments=wanted))
    columns = columns_of(problem)
    one, two = (next(c for c in columns if c.wanted == number) for number in (0, 1))
    rows = rows_of(problem, columns)
    assert (broken(rows, columns, [one]), broken(rows, columns, [two])) == ([], [])
    assert broken(rows, columns, [one, two]) != []


def test_what_ollama_would_evict_breaks_a_row() -> None:
    wanted = (
        want("one", "qwen3:14b", ("Q6_K",), (8192, 8192)),
        want("two", "llama3.1:8b", ("Q8_0",), (8192, 8192)),
    )
    problem = Problem(Lab(nodes=(gpu_node("rog", 4),), deployments=wanted))
    columns = columns_of(problem)
    bytes_free = problem.rooms["rog/0"] - sum(column.group.total_bytes for column in columns)
    assert bytes_free > 0
    assert not problem.verdict(0, columns).holds
    assert broken(rows_of(problem, columns), columns, columns) != []
