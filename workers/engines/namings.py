"""All orders about names that a worker carries out: those of one name one after the other."""

import asyncio
import logging
import threading
from collections import defaultdict

from workers.engines.create import NameOrder, Naming, progress
from workers.engines.names import canonical_name
from workers.store import Store, StoreDown
from workers.telemetry import Telemetry
from workers.wire import ApplyProgress

log = logging.getLogger(__name__)


class Namings:
    """Carries orders out, each in the thread that brings it, until ``stopping`` is set.

    An order that comes again once it has ended is carried out again: twice is the same as once.
    """

    def __init__(self, *, telemetry: Telemetry, store: Store, stopping: threading.Event) -> None:
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._guard = threading.Lock()
        self._running: set[NameOrder] = set()
        self._lanes: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def carry_out(self, order: NameOrder) -> None:
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
            log.info("%s ended item=%d phase=%s", end.step, order.job_id, end.phase)
        finally:
            with self._guard:
                self._running.discard(order)

    def _end_of(self, order: NameOrder) -> ApplyProgress:
        try:
            if self._store.is_apply_cancelled(order.job_id):
                return progress(order, "cancelled", meaning="Cancelled before it began.")
        except StoreDown:
            log.info("cancel flag unknown item=%d", order.job_id)
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if node is None or watch is None:
            text = f"This node has no Ollama server at {order.instance_url}."
            return progress(order, "failed", meaning=text)
        naming = Naming(order, node=node, watch=watch, store=self._store, stopping=self._stopping)
        try:
            return asyncio.run(naming.run())
        except Exception:  # a fault of ours is told too
            log.exception("order about a name failed item=%d", order.job_id)
            text = "LabDash's worker failed; its log says why."
            return progress(order, "failed", meaning=text)
