"""When a node was heard of last, in the store or before."""

from datetime import datetime

from labdash.live import NodeState
from labdash.models import Node


def heard_at(node: Node, state: NodeState | None) -> datetime | None:
    """Return when its newest sample came; a store that was restarted may have forgotten it."""
    moments = (node.last_seen_at, state.arrived_at if state else None)
    return max((each for each in moments if each is not None), default=None)
