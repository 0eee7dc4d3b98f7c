"""The smallest columns of each place."""

from labdash.planner.lab import Deployment, Lab
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.slim import slim, stand_in
from tests.planning.labs import gpu_node, want


def columns_of(*wanted: Deployment) -> list[Column]:
    problem = Problem(Lab(nodes=(gpu_node("rog", 4),), deployments=wanted))
    return [c for number in range(len(wanted)) for c in problem.columns_of(number)]


def seen(columns: list[Column]) -> list[tuple[int, str, int]]:
    return [(c.wanted, c.choice.variant.quant, c.choice.ctx) for c in columns]


def test_only_the_least_quant_and_context_stay() -> None:
    columns = columns_of(want("one", "qwen3:14b", ("Q6_K", "Q4_K_M"), (4096, 16384)))
    assert len(columns) > 4
    assert seen(slim(columns)) == [(0, "Q4_K_M", 4096)]


def test_what_two_may_share_stays() -> None:
    one = want("one", "qwen3:14b", ("Q4_K_M",), (4096, 8192))
    two = want("two", "qwen3:14b", ("Q4_K_M",), (8192, 8192))
    assert sorted(seen(slim(columns_of(one, two)))) == [
        (0, "Q4_K_M", 4096),
        (0, "Q4_K_M", 8192),
        (1, "Q4_K_M", 8192),
    ]


def test_a_larger_column_has_a_stand_in() -> None:
    columns = columns_of(want("one", "qwen3:14b", ("Q4_K_M",), (4096, 16384)))
    largest = max(columns, key=lambda column: column.choice.ctx)
    found = stand_in(largest, slim(columns))
    assert found is not None
    assert found.choice.ctx == 4096
