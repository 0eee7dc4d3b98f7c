"""The flag by which a node learns that a job is to stop. Every verb raises ``live.StoreDown``."""

from labdash import live
from labdash.domain import orders
from labdash.models import Node
from workers import wire

# An order lies in its queue until its node has been silent for a day (see orders.drop_stale), and
# longer while the hub itself is off: a month outlives a holiday.
KEPT_S = 30 * 86400


def raise_cancel_flag(*, job_id: int, node: Node) -> None:
    """Set the key that the node checks, also for orders of this job that still lie in its queue."""
    with live.store_errors():
        live.store().set(wire.cancel_key(orders.address(node), job_id), 1, ex=KEPT_S)


def raise_load_flag(*, job_id: int, node: Node) -> None:
    """Set the key that the node checks for a load, also while its order lies in the queue."""
    with live.store_errors():
        live.store().set(wire.load_cancel_key(orders.address(node), job_id), 1, ex=KEPT_S)


def lower_load_flag(*, job_id: int, node: Node) -> None:
    """Remove the flag of an earlier load of this number, as below."""
    with live.store_errors():
        live.store().delete(wire.load_cancel_key(orders.address(node), job_id))


def lower_cancel_flag(*, job_id: int, node: Node) -> None:
    """Remove the flag of an earlier job: numbers begin anew with a new database."""
    with live.store_errors():
        live.store().delete(wire.cancel_key(orders.address(node), job_id))
