"""A tick asks as little of the database for many models as for one."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.tending import tend
from labdash.models import ItemState, Plan
from labdash.planner.greedy import quick
from tests.factories import make_installed, make_instance, seen
from tests.plan_rows import make_item, make_plan

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize(("state", "queries"), [(ItemState.READY, 18), (ItemState.LOADING, 22)])
def test_as_many_queries_for_ten_items_as_for_one(
    count: int, state: ItemState, queries: int, django_assert_num_queries: Any
) -> None:
    instance, plan = make_instance(), make_plan(content={"long": "text"})
    make_installed(instance, "qwen3:8b")
    for number in range(count):
        make_item(plan, instance, f"m{number}", load_order=number, state=state)
    seen()
    now = timezone.now()
    tend(now=now, planner=quick)
    with django_assert_num_queries(queries) as context:
        tend(now=now + timedelta(seconds=2), planner=quick)
    assert not [each["sql"] for each in context if not each["sql"].startswith("SELECT")]
    assert not [each["sql"] for each in context if '"content"' in each["sql"]]


def test_nothing_is_read_where_nothing_is_planned(django_assert_num_queries: Any) -> None:
    make_instance()
    seen()
    with django_assert_num_queries(2):
        tend(now=timezone.now(), planner=quick)
    assert not Plan.objects.exists()
