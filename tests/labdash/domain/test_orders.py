"""What lies in the queues of nodes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from labdash.domain.orders import STALE_AFTER, drop_stale, send_refresh
from labdash.live import StoreDown
from labdash.models import Node
from tests.factories import make_node, orders
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
