"""What nodes say of names reaches the items of plans."""

import pytest
from django.utils import timezone

from labdash.intake import Intake
from labdash.models import ItemState
from tests.factories import make_instance, send
from tests.plan_rows import make_item, make_plan
from workers import wire

pytestmark = pytest.mark.django_db


def test_a_name_that_was_made_moves_its_item_on() -> None:
    item = make_item(make_plan(), make_instance(), state=ItemState.CREATING, sent_at=timezone.now())
    report = wire.ApplyProgress(
        node="rog", sent_at=timezone.now(), job_id=item.pk, step="create", phase="done"
    )
    send(report)
    Intake().read_once(block_ms=1)
    item.refresh_from_db()
    assert item.state != ItemState.CREATING
