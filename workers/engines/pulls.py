"""All pulls of a worker: the same job twice is one, and so are two jobs for one model."""

import logging
import threading
import time
from collections import OrderedDict

from workers.engines.names import canonical_name
from workers.engines.pull import Limits, Pull, Turn
from workers.engines.reporter import Reporter
from workers.engines.tally import Tally
from workers.engines.watch import InstanceWatch
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import PullOrder, PullProgress

# An order that comes again so soon after its end is answered with that end.
ENDS_KEPT_S = 600.0
ENDS_KEPT = 200

log = logging.getLogger(__name__)


class Pulls:
    """Carries out pull orders, each in the thread that brings it, until ``stopping`` is set."""

    def __init__(
        self,
        *,
        telemetry: Telemetry,
        store: Store,
        stopping: threading.Event,
        limits: Limits | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._limits = limits or Limits()
        self._guard = threading.Lock()
        self._running: dict[tuple[str, str], Pull] = {}
        self._turns: dict[str, Turn] = {}
        self._ends: OrderedDict[int, tuple[PullOrder, PullProgress, float]] = OrderedDict()

    def carry_out(self, order: PullOrder) -> None:
        """Pull, or join the pull that runs already; ends when the pull has ended."""
        watch = self._find(order)
        if watch is None:
            return
        key = (watch.spec.url, canonical_name(order.model))
        with self._guard:
            pull = self._take_up(order, key, watch)
            turn = self._turns.setdefault(watch.spec.url, Turn())
        if pull is None:
            return
        try:
            ends = pull.run(turn)
        finally:
            with self._guard:
                if self._running.get(key) is pull:
                    del self._running[key]
        self._remember(order, ends)
        watch.refresh()

    def is_at(self, url: str) -> bool:
        """Tell whether a pull runs or waits on a server."""
        with self._guard:
            return any(place == url for place, _ in self._running)

    def _find(self, order: PullOrder) -> InstanceWatch | None:
        """Return the instance; an address that the hub did not list is not spoken to."""
        node = self._telemetry.find(order.node)
        if node is None:
            log.warning(
                "pull for a node that is not served job=%d node=%s", order.job_id, order.node
            )
            return None
        watch = node.find(order.instance_url)
        if watch is None:
            reason = f"This node has no Ollama server at {order.instance_url}."
            reporter = Reporter(order, store=self._store, tally=Tally(now=time.monotonic()))
            reporter.finish("failed", reason=reason)
        return watch

    def _take_up(self, order: PullOrder, key: tuple[str, str], watch: InstanceWatch) -> Pull | None:
        """Return a pull to run, or ``None`` when the order is answered or joined to one."""
        if end := self._end_of(order):
            self._store.send(end)
            return None
        running = self._running.get(key)
        if running is not None and running.reporter.join(order):
            return None
        self._running[key] = Pull(
            order, watch=watch, store=self._store, stopping=self._stopping, limits=self._limits
        )
        return self._running[key]

    def _end_of(self, order: PullOrder) -> PullProgress | None:
        """Return what was said at the end of this very order, or of a later attempt of its job."""
        known, end, at = self._ends.get(order.job_id, (None, None, 0.0))
        if known is None or time.monotonic() - at > ENDS_KEPT_S:
            return None
        is_same = (known.model, known.instance_url) == (order.model, order.instance_url)
        return end if is_same and order.attempt <= known.attempt else None

    def _remember(self, order: PullOrder, ends: list[PullProgress]) -> None:
        with self._guard:
            for end in ends:
                same = order.model_copy(update={"job_id": end.job_id, "attempt": end.attempt})
                self._ends[end.job_id] = (same, end, time.monotonic())
                self._ends.move_to_end(end.job_id)
            while len(self._ends) > ENDS_KEPT:
                self._ends.popitem(last=False)
