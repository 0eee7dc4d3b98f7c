"""The flag by which a node learns that a job is to stop."""

import logging

from labdash import live
from labdash.domain import orders
from labdash.models import Node
from workers import wire

log = logging.getLogger(__name__)

# Longer than any worker is down and comes back to an order that waits in its queue.
KEPT_S = 86400


def raise_cancel_flag(*, job_id: int, node: Node) -> None:
    """Set the key that the node checks; while the store is down the reconciler repeats it."""
    key = wire.cancel_key(orders.address(node), job_id)
    try:
        with live.store_errors():
            live.store().set(key, 1, ex=KEPT_S)
    except live.StoreDown as error:
        log.warning("cancel flag not set yet job=%d: %s", job_id, error)
