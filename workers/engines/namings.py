"""All orders about names that a worker carries out: those of one name one after the other."""

import asyncio
import logging
import threading
from collections import defaultdict
from typing import Any, Literal

from workers.engines import by_hand, create
from workers.engines.create import AliasOrder
from workers.engines.names import canonical_name
from workers.store import Store, StoreDown
from workers.telemetry import Telemetry
from workers.wire import ApplyProgress, NameOrder, NameProgress

log = logging.getLogger(__name__)

type AnyOrder = AliasOrder | NameOrder
type End = ApplyProgress | NameProgress


class Namings:
    """Carries orders out, each in the thread that brings it, until ``stopping`` is set.

    An order that comes again once it has ended is carried out again: twice is the same as once.
    """

    def __init__(self, *, telemetry: Telemetry, store: Store, stopping: threading.Event) -> None:
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._guard = threading.Lock()
        self._running: set[AnyOrder] = set()
        self._lanes: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def carry_out(self, order: AnyOrder) -> None:
        """Do it, and tell the hub how it stands while it is done and at the end."""
        with self._guard:
            if order in self._running:
                return
            self._running.add(order)
            lane = self._lanes[order.instance_url, canonical_name(order.model)]
        try:
            with lane:
                end = self._end_of(order)
            self._store.send(end)
            log.info("%s ended job=%d phase=%s", end.kind, order.job_id, end.phase)
        finally:
            with self._guard:
                self._running.discard(order)

    def _end_of(self, order: AnyOrder) -> End:
        try:
            if self._is_cancelled(order):
                return ended(order, "Cancelled before it began.", is_cancelled=True)
        except StoreDown:
            log.info("cancel flag unknown job=%d", order.job_id)
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if node is None or watch is None:
            return ended(order, f"This node has no Ollama server at {order.instance_url}.")
        common: dict[str, Any] = {
            "node": node,
            "watch": watch,
            "store": self._store,
            "stopping": self._stopping,
        }
        try:
            if isinstance(order, NameOrder):
                return asyncio.run(by_hand.ByHand(order, **common).run())
            return asyncio.run(create.Naming(order, **common).run())
        except Exception:  # a fault of ours is told too
            log.exception("order about a name failed job=%d", order.job_id)
            return ended(order, "LabDash's worker failed; its log says why.")

    def _is_cancelled(self, order: AnyOrder) -> bool:
        if isinstance(order, NameOrder):
            return self._store.is_name_cancelled(order.job_id)
        return self._store.is_apply_cancelled(order.job_id)


def ended(order: AnyOrder, meaning: str, *, is_cancelled: bool = False) -> End:
    """Return the end of an order that came to nothing."""
    phase: Literal["failed", "cancelled"] = "cancelled" if is_cancelled else "failed"
    if isinstance(order, NameOrder):
        return by_hand.progress(order, phase, meaning=meaning)
    return create.progress(order, phase, meaning=meaning)
