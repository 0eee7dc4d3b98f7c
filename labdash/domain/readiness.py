"""Whether anything can be done on a node now, for what nobody wants to wait for."""

from datetime import datetime

from labdash import live
from labdash.domain.errors import LabDashError
from labdash.models import Node
from labdash.queries.lab import view_node
from labdash.wording import lasted

STORE_AWAY = "The store does not answer: try again in a moment."


def require_ready(node: Node, *, to_be: str, now: datetime) -> None:
    """Refuse a node that is paused or does not report: nothing can be done, or asked, there."""
    if node.paused:
        raise LabDashError(f"{node.slug} is paused: resume it first.")
    try:
        view = view_node(node, live.read_states([node.slug]).get(node.slug), now=now)
    except live.StoreDown as error:
        raise LabDashError(STORE_AWAY) from error
    if view.liveness == "never":
        raise LabDashError(f"{node.slug} has never reported: nothing can be {to_be} there yet.")
    if view.liveness == "silent":
        silence = lasted(view.age_s or 0)
        text = f"{node.slug} has been silent for {silence}: nothing can be {to_be} there."
        raise LabDashError(text)
