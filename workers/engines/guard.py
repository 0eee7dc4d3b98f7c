"""Beside an order that is carried out: its heartbeat, and what may end it early."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from workers.engines.watch import InstanceWatch
from workers.nodewatch import NodeWatch
from workers.store import Store, StoreDown
from workers.wire import CreateOrder, DeleteOrder, LoadOrder, NameOrder, Report
from workers.wire.loads import LOAD_BEAT_S

# So often the store is asked whether it is still wanted.
LOOK_EVERY_S = 0.3


class Cut(Exception):  # noqa: N818 - named for what became of the order
    """An order that ended before it was done, and why."""

    def __init__(self, meaning: str, *, phase: Literal["failed", "cancelled"] = "failed") -> None:
        super().__init__(meaning)
        self.meaning = meaning
        self.phase: Literal["failed", "cancelled"] = phase


class Guard:
    """Watches over one order; ``is_cancelled`` may raise ``StoreDown``, which ends nothing."""

    def __init__(
        self,
        *,
        is_cancelled: Callable[[], bool],
        beat: Callable[[], None],
        stopping: threading.Event,
        deadline_s: float,
    ) -> None:
        self._is_cancelled, self._beat = is_cancelled, beat
        self._stopping, self._deadline_s = stopping, deadline_s
        self._began_at = time.monotonic()
        self._told_at = float("-inf")

    async def run[R](self, act: Coroutine[Any, Any, R]) -> R:
        """Do it, and return what came of it. Raises ``Cut``, and what ``act`` raises."""
        acting = asyncio.create_task(act)
        cut: Cut | None = None
        while not acting.done():
            await asyncio.wait({acting}, timeout=LOOK_EVERY_S)
            if cut is None and not acting.done():
                cut = await asyncio.to_thread(self._tell)
                if cut is not None:
                    # Ollama gives up what it does when its client leaves.
                    acting.cancel()
        if cut is not None and acting.cancelled():
            raise cut
        return acting.result()

    def _tell(self) -> Cut | None:
        """Say that it goes on; return why it must end now, if it must."""
        if time.monotonic() - self._told_at >= LOAD_BEAT_S:
            self._told_at = time.monotonic()
            self._beat()
        try:
            if self._is_cancelled():
                return Cut("Cancelled.", phase="cancelled")
        except StoreDown:
            pass
        if self._stopping.is_set():
            return Cut("The node's worker was stopped in the middle of it.")
        if time.monotonic() - self._began_at > self._deadline_s:
            return Cut(f"Given up after {self._deadline_s / 60:.0f} minutes.")
        return None


class Guarded[O: LoadOrder | CreateOrder | DeleteOrder | NameOrder]:
    """One order about a server of a node, and what it takes to carry it out under a guard."""

    def __init__(
        self,
        order: O,
        *,
        node: NodeWatch,
        watch: InstanceWatch,
        store: Store,
        stopping: threading.Event,
    ) -> None:
        self._order, self._node, self._watch = order, node, watch
        self._store, self._stopping = store, stopping

    async def _guarded[R](
        self,
        act: Coroutine[Any, Any, R],
        *,
        is_cancelled: Callable[[int], bool],
        beat: Callable[[], Report],
    ) -> R:
        """Do it, and send what ``beat`` makes meanwhile. Raises what ``Guard.run`` raises."""
        order, store = self._order, self._store
        guard = Guard(
            is_cancelled=lambda: is_cancelled(order.job_id),
            beat=lambda: store.send(beat()),
            stopping=self._stopping,
            deadline_s=order.deadline_s,
        )
        return await guard.run(act)
