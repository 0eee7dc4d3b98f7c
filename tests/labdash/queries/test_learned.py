"""Overheads are learned from loads that agree, and never far from what any card takes."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labdash.domain.verifying import prune
from labdash.models import Prediction
from labdash.planner.memory.overhead import MIB, Overhead
from labdash.queries.learned import learned_overheads
from labdash.queries.predictions import read_errors
from tests.factories import GIB, make_instance

pytestmark = pytest.mark.django_db

CARD = ("RTX 3090", "580.1", "0.32.15")


def saw(*extras_mib: int, card: tuple[str, str, str] = CARD, overhead_mib: int = 300) -> None:
    """Store loads that took so much beside their buffers."""
    instance = make_instance(f"n{Prediction.objects.count()}")
    for extra in extras_mib:
        Prediction.objects.create(
            at=timezone.now(),
            instance=instance,
            gpu_name=card[0],
            driver=card[1],
            engine=card[2],
            model="qwen3:8b",
            buffers_bytes=5 * GIB,
            overhead_bytes=overhead_mib * MIB,
            observed_bytes=5 * GIB + extra * MIB,
        )


def test_median_of_what_agrees_is_learned() -> None:
    saw(310, 312, 316)
    assert learned_overheads() == {CARD: Overhead(312 * MIB, 22 * MIB, "learned")}


def test_too_few_tell_nothing() -> None:
    saw(310, 312)
    assert learned_overheads() == {}


def test_another_driver_or_engine_is_another_card() -> None:
    other = ("RTX 3090", "590.1", "0.32.15")
    saw(310, 312, 316)
    saw(410, 412, 416, card=other)
    assert {kind: found.context_bytes // MIB for kind, found in learned_overheads().items()} == {
        CARD: 312,
        other: 412,
    }


def test_outliers_do_not_count() -> None:
    saw(310, 312, 316, 3000, -2000, 700)
    assert learned_overheads()[CARD].context_bytes == 312 * MIB


@pytest.mark.parametrize(
    "extras", [(-500, -510, -505), (4000, 4010, 4020), (100, 400, 700), (310, 312, 9000, 9000)]
)
def test_what_no_card_takes_or_loads_that_disagree_teach_nothing(extras: tuple[int, ...]) -> None:
    saw(*extras)
    assert learned_overheads() == {}


def test_errors_are_told_with_median_worst_and_newest() -> None:
    assert read_errors().count == 0
    saw(290, 300, 310, 400)
    found = read_errors(shown=2)
    assert (found.count, found.median_bytes, found.worst_bytes) == (4, 5 * MIB, 100 * MIB)
    assert found.worst_share == pytest.approx(100 / (5 * 1024 + 400))
    assert len(found.newest) == 2


def pruned() -> int:
    return prune(now=timezone.now())


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL scans tables that are small")
@pytest.mark.parametrize("read", [learned_overheads, read_errors, pruned])
def test_newest_are_read_in_the_order_of_the_index(read: Callable[[], object]) -> None:
    saw(310, 312, 316)
    with CaptureQueriesContext(connection) as queries:
        read()
    (query,) = (each["sql"] for each in queries)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        steps = [row[-1] for row in cursor.fetchall()]
    (index,) = Prediction._meta.indexes
    assert index.name in steps[0]
    assert not [step for step in steps if "TEMP B-TREE" in step]
