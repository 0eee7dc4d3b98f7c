"""All loads of a worker: the same order twice is one, and its end is told again."""

import asyncio
import logging
import threading
from collections import OrderedDict

from workers.engines.load import Load, failed
from workers.store import Store, StoreDown
from workers.telemetry import Telemetry
from workers.wire import LoadOrder, LoadProgress

ENDS_KEPT = 100

log = logging.getLogger(__name__)


class Loads:
    """Carries out load orders, each in the thread that brings it, until ``stopping`` is set."""

    def __init__(self, *, telemetry: Telemetry, store: Store, stopping: threading.Event) -> None:
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._guard = threading.Lock()
        self._running: set[LoadOrder] = set()
        self._ends: OrderedDict[LoadOrder, LoadProgress] = OrderedDict()

    def carry_out(self, order: LoadOrder) -> None:
        """Do it, and tell the hub how it stands while it is done and at the end."""
        with self._guard:
            if order in self._running:
                return
            end = self._ends.get(order)
            self._running.add(order)
        try:
            end = end or self._end_of(order)
            self._remember(order, end)
            self._store.send(end)
            log.info("load ended job=%d phase=%s", order.job_id, end.phase)
        finally:
            with self._guard:
                self._running.discard(order)

    def _end_of(self, order: LoadOrder) -> LoadProgress:
        try:
            if self._store.is_load_cancelled(order.job_id):
                return failed(order, "Cancelled before it began.", phase="cancelled")
        except StoreDown:
            log.info("cancel flag unknown job=%d", order.job_id)
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if node is None or watch is None:
            return failed(order, f"This node has no Ollama server at {order.instance_url}.")
        load = Load(order, node=node, watch=watch, store=self._store, stopping=self._stopping)
        try:
            return asyncio.run(load.run())
        except Exception:  # a fault of ours is told too
            log.exception("load failed job=%d", order.job_id)
            return failed(order, "LabDash's worker failed; its log says why.")

    def _remember(self, order: LoadOrder, end: LoadProgress) -> None:
        with self._guard:
            self._ends[order] = end
            while len(self._ends) > ENDS_KEPT:
                self._ends.popitem(last=False)
