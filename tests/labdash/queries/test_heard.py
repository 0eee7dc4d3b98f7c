"""When a node was heard of last."""

from datetime import UTC, datetime, timedelta

import pytest

from labdash.live import NodeState
from labdash.models import Node
from labdash.queries.heard import heard_at
from tests.factories import sample

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("kept", "stored", "heard"),
    [
        (None, None, None),
        (BEFORE, None, BEFORE),
        (None, NOW, NOW),
        (BEFORE, NOW, NOW),
        pytest.param(NOW, BEFORE, NOW, id="the store came back with what it had saved"),
    ],
)
def test_newest_of_what_is_known_counts(
    kept: datetime | None, stored: datetime | None, heard: datetime | None
) -> None:
    state = NodeState(sample=sample("rog"), arrived_at=stored) if stored else None
    assert heard_at(Node(slug="rog", last_seen_at=kept), state) == heard
