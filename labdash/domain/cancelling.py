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
    _raise(wire.cancel_key(orders.address(node), job_id))


def lower_cancel_flag(*, job_id: int, node: Node) -> None:
    """Remove the flag of an earlier job: numbers begin anew with a new database."""
    _lower(wire.cancel_key(orders.address(node), job_id))


def raise_load_flag(*, job_id: int, node: Node) -> None:
    """Do the same for a load, which has a number of its own kind."""
    _raise(wire.load_cancel_key(orders.address(node), job_id))


def lower_load_flag(*, job_id: int, node: Node) -> None:
    """Remove the flag of an earlier load of this number."""
    _lower(wire.load_cancel_key(orders.address(node), job_id))


def raise_apply_flag(*, item_id: int, node: Node) -> None:
    """Do the same for the name that an item of a plan has on its server."""
    _raise(wire.apply_cancel_key(orders.address(node), item_id))


def lower_apply_flag(*, item_id: int, node: Node) -> None:
    """Remove the flag of an earlier item of this number."""
    _lower(wire.apply_cancel_key(orders.address(node), item_id))


def raise_name_flag(*, job_id: int, node: Node) -> None:
    """Do the same for what is done to a name by hand."""
    _raise(wire.name_cancel_key(orders.address(node), job_id))


def lower_name_flag(*, job_id: int, node: Node) -> None:
    """Remove the flag of an earlier order of this number."""
    _lower(wire.name_cancel_key(orders.address(node), job_id))


def _raise(key: str) -> None:
    with live.store_errors():
        live.store().set(key, 1, ex=KEPT_S)


def _lower(key: str) -> None:
    with live.store_errors():
        live.store().delete(key)
