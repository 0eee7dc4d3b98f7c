"""The lab as it is known now: rows joined with the newest samples. Every page begins here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from labdash.live import NodeState, StoreDown, read_states
from labdash.models import Node
from workers import wire

# A worker samples every 5 s: one lost sample is no news, three are.
LATE_AFTER_S = 8.0
SILENT_AFTER_S = 20.0

type Liveness = Literal["live", "late", "silent", "never"]


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node and the newest that is known of it. ``age_s`` is ``None`` if nothing ever came."""

    node: Node
    liveness: Liveness
    age_s: float | None
    sample: wire.Sample | None


@dataclass(frozen=True, kw_only=True)
class LabView:
    """All nodes at ``now``. Without the store, samples are those that the database kept."""

    now: datetime
    store_ok: bool
    nodes: tuple[NodeView, ...]


def read_lab(*, now: datetime) -> LabView:
    """Return all nodes with their newest samples, whether or not the store answers."""
    nodes = list(Node.objects.prefetch_related("instances", "gpus"))
    try:
        states = read_states(node.slug for node in nodes)
        store_ok = True
    except StoreDown:
        states, store_ok = {}, False
    views = tuple(view_node(node, states.get(node.slug), now=now) for node in nodes)
    return LabView(now=now, store_ok=store_ok, nodes=views)


def view_node(node: Node, state: NodeState | None, *, now: datetime) -> NodeView:
    """Join a node with its newest state, or with what the database kept of it."""
    if state is None and node.last_sample and node.last_seen_at:
        state = NodeState(
            sample=wire.Sample.model_validate(node.last_sample), arrived_at=node.last_seen_at
        )
    if state is None:
        return NodeView(node=node, liveness="never", age_s=None, sample=None)
    age_s = state.age_s(now)
    return NodeView(node=node, liveness=_liveness(age_s), age_s=age_s, sample=state.sample)


def _liveness(age_s: float) -> Liveness:
    if age_s <= LATE_AFTER_S:
        return "live"
    return "late" if age_s <= SILENT_AFTER_S else "silent"
