"""What lies in the queues of nodes."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pydantic import ValidationError

from labdash.domain.orders import (
    STALE_AFTER,
    drop_stale,
    send_create,
    send_delete,
    send_refresh,
)
from labdash.live import StoreDown
from labdash.models import Node
from tests.factories import make_instance, make_node, orders
from tests.plan_rows import make_item, make_plan
from workers import wire

pytestmark = pytest.mark.django_db


def waiting(slug: str, *, silent_for: timedelta, agentless: bool = False) -> Node:
    """Store a node that was last seen so long ago, with an order in its queue."""
    last_seen_at = timezone.now() - silent_for
    node = make_node(slug, agentless=agentless, last_seen_at=last_seen_at)
    send_refresh(node)
    return node


def test_the_queue_of_a_node_that_is_silent_for_a_day_is_emptied_and_no_other() -> None:
    waiting("rog", silent_for=STALE_AFTER + timedelta(minutes=1))
    waiting("tower", silent_for=STALE_AFTER - timedelta(minutes=1))
    drop_stale(now=timezone.now())
    assert (len(orders("rog")), len(orders("tower"))) == (0, 1)


def test_the_queue_of_a_node_that_was_never_seen_is_kept_for_a_day_too() -> None:
    node = make_node("rog")
    send_refresh(node)
    drop_stale(now=node.created_at + STALE_AFTER)
    assert len(orders("rog")) == 1
    drop_stale(now=node.created_at + STALE_AFTER + timedelta(seconds=1))
    assert orders("rog") == []


@pytest.mark.parametrize(("other_silent_days", "left"), [(0, 2), (2, 0)])
def test_agentless_nodes_share_a_queue_that_is_emptied_when_all_are_silent(
    other_silent_days: int, left: int
) -> None:
    waiting("attic", silent_for=timedelta(days=2), agentless=True)
    waiting("cellar", silent_for=timedelta(days=other_silent_days), agentless=True)
    drop_stale(now=timezone.now())
    assert len(orders(wire.HUB_NODE)) == left


def test_a_store_that_is_down_is_told(dead_store: None) -> None:
    make_node("rog", last_seen_at=timezone.now() - timedelta(days=2))
    with pytest.raises(StoreDown):
        drop_stale(now=timezone.now())


def test_a_name_is_made_with_the_options_of_its_item() -> None:
    item = make_item(make_plan(), make_instance(), num_gpu=20, main_gpu=1)
    send_create(item)
    (order,) = orders("rog")
    assert order.pop("task") == "workers.create"
    made = wire.CreateOrder.model_validate(order)
    assert (made.job_id, made.model, made.base) == (item.pk, "labdash/chat", "qwen3:8b")
    assert made.parameters == wire.Parameters(num_ctx=8192, num_batch=512, num_gpu=20, main_gpu=1)


def test_a_model_without_an_alias_gets_the_options_under_its_own_name() -> None:
    send_create(make_item(make_plan(), make_instance(), alias=""))
    (order,) = orders("rog")
    assert (order["model"], order["base"]) == ("qwen3:8b", "qwen3:8b")


def test_a_name_on_an_agentless_node_is_deleted_by_the_worker_on_the_hub() -> None:
    item = make_item(make_plan(), make_instance("attic", agentless=True))
    send_delete(item)
    (order,) = orders(wire.HUB_NODE)
    assert (order["task"], order["node"], order["model"]) == (
        "workers.delete",
        "attic",
        "labdash/chat",
    )


def test_no_order_deletes_a_base() -> None:
    item = make_item(make_plan(), make_instance(), alias="qwen3:8b")
    with pytest.raises(ValidationError):
        send_delete(item)
    assert orders("rog") == []
