"""What is left in the store when somebody asks for a look, and who gets the order."""

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.errors import LabDashError
from labdash.domain.finding import look, stop
from labdash.queries.finding import LOOK_KEY, Asked
from tests.factories import orders
from workers.wire.keys import find_wish_key


def test_the_worker_on_the_hub_is_asked_and_the_wish_is_gone_in_seconds() -> None:
    look(now=timezone.now())
    asked = Asked.model_validate_json(str(live.store().get(LOOK_KEY)))
    assert live.store().get(find_wish_key()) == asked.find_id
    assert 0 < live.store().ttl(find_wish_key()) <= 10
    (order,) = orders("@hub")
    assert order == {
        "task": "workers.find",
        "protocol": 1,
        "node": "@hub",
        "find_id": asked.find_id,
    }


def test_a_look_that_is_stopped_is_wanted_no_more() -> None:
    look(now=timezone.now())
    stop()
    assert not live.store().exists(find_wish_key())


@pytest.mark.usefixtures("dead_store")
def test_without_a_store_nothing_is_asked_and_the_reason_is_told() -> None:
    with pytest.raises(LabDashError, match="The store does not answer"):
        look(now=timezone.now())
    with pytest.raises(LabDashError, match="The store does not answer"):
        stop()
