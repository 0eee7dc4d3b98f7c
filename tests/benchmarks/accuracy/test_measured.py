"""The planner's answers for loads that people posted from real cards."""

import pytest

from tests.benchmarks.accuracy.measured import misses, report
from tests.benchmarks.accuracy.measured_figures import compare, is_tensor_split, loads
from tests.benchmarks.accuracy.measured_fits import (
    CASES,
    INCOMPLETE,
    failed,
    verdicts,
    wrongly_refused,
)
from tests.benchmarks.accuracy.measured_misses import REASONS
from tests.benchmarks.accuracy.measured_rows import Load

COMPLETE = ("weights_mib", "kv_mib", "compute_mib")


def complete() -> list[Load]:
    """Return the loads of llama.cpp and Ollama whose buffers were all posted."""
    return [
        load
        for load in loads()[0]
        if load.exact
        and not load.fork
        and all(field in load.row for field in COMPLETE)
        and not is_tensor_split(load.row)
    ]


def test_weights_and_caches_of_complete_loads_are_within_a_percent() -> None:
    figures = [figure for load in complete() for figure in compare(load)]
    fixed = [figure for figure in figures if figure.kind in ("weights", "KV")]
    assert len(fixed) > 40
    assert {f"{f.load.id} {f.kind}": f.error for f in fixed if abs(f.error) > 0.01} == {}


def test_what_the_driver_shows_of_a_load_is_within_two_percent() -> None:
    shown = [figure for load in complete() for figure in compare(load) if figure.kind == "driver"]
    assert len(shown) > 10
    assert [figure.load.id for figure in shown if abs(figure.error) > 0.02] == []


def test_a_load_that_ran_out_of_memory_never_fits() -> None:
    judged = list(verdicts())
    assert len(judged) == len(CASES)
    assert [each.row["id"] for each in judged if each.truth or each.safe] == []


def test_a_load_that_ran_is_not_said_to_be_too_large() -> None:
    refused, ran = wrongly_refused()
    assert ran > 20
    assert refused == []


def test_each_out_of_memory_is_judged_or_says_what_is_missing() -> None:
    assert {row["id"] for row in failed()} == CASES.keys() | INCOMPLETE.keys()


@pytest.mark.long
def test_each_miss_over_five_percent_has_a_reason_and_each_reason_a_miss() -> None:
    assert {(figure.load.id, figure.kind) for figure in misses()} == REASONS.keys()
    assert all(figure.load.id in report() for figure in misses())
