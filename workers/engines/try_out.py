"""Asks a model once, for somebody who watches: the answer, its speed, and where it ran.

Nothing of prompt or answer is logged, or kept by this worker once it is told.
"""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from workers.engines.base import EngineDown
from workers.engines.chat import ChatFailed, ChatLine, chat, unreached
from workers.engines.try_answer import Answer
from workers.engines.watch import InstanceWatch
from workers.engines.where import find_entry, look
from workers.nodewatch import NodeWatch
from workers.store import Store, StoreDown
from workers.telemetry import Telemetry
from workers.wire import TryBegan, TryEnd, TryOrder, TryPlace
from workers.wire.tries import MOST_ANSWER_BYTES, MOST_S, MOST_TOKENS, WISH_S

NANOSECONDS = 1e9
# A page that goes from one try to the next leaves the first one only then.
TURN_S = 5.0
# So often what came is told, and the store is asked whether anybody waits for it.
TELL_EVERY_S = 0.2
# The driver and `/api/ps` answer within milliseconds, or the end does not wait for them.
PLACE_S = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TryLimits:
    """Where an answer is cut."""

    tokens: int = MOST_TOKENS
    seconds: float = MOST_S
    answer_bytes: int = MOST_ANSWER_BYTES
    turn_s: float = TURN_S


class Tries:
    """Carries out one try at a time on each server, until ``stopping`` is set."""

    def __init__(
        self,
        *,
        telemetry: Telemetry,
        store: Store,
        stopping: threading.Event,
        limits: TryLimits | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._store = store
        self._stopping = stopping
        self._limits = limits or TryLimits()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def carry_out(self, order: TryOrder) -> None:
        """Ask, and tell the answer. An order that comes twice, or too late, finds no prompt."""
        try:
            prompt = self._store.take_prompt(order.try_id)
        except StoreDown:
            return
        if not prompt:
            return
        answer = Answer(self._store, order.try_id)
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if node is None or watch is None:
            answer.end(_failed(f"This node has no Ollama server at {order.instance_url}."))
            return
        self._in_turn(Try(order, prompt, node=node, watch=watch, answer=answer, own=self._own()))

    def _own(self) -> "_Own":
        return _Own(store=self._store, stopping=self._stopping, limits=self._limits)

    def _in_turn(self, asked: "Try") -> None:
        turn = self._turns[asked.url]
        if not turn.acquire(timeout=self._limits.turn_s):
            asked.answer.end(_failed("Somebody else tries a model on this server just now."))
            return
        try:
            asyncio.run(asked.run())
        finally:
            turn.release()


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What all tries of a worker share."""

    store: Store
    stopping: threading.Event
    limits: TryLimits


class Try:
    """One prompt to one model."""

    def __init__(
        self,
        order: TryOrder,
        prompt: str,
        *,
        node: NodeWatch,
        watch: InstanceWatch,
        answer: Answer,
        own: _Own,
    ) -> None:
        self.url = watch.spec.url
        self.answer = answer
        self._order = order
        self._prompt = prompt
        self._node = node
        self._watch = watch
        self._own = own
        self._began_at = self._wanted_at = time.monotonic()
        self._asked_at = self._first_at = 0.0
        self._was_loaded: bool | None = None
        self._looking: asyncio.Task[TryPlace] | None = None
        self._last: ChatLine | None = None

    async def run(self) -> None:
        """Ask, tell what comes while it comes, and say how it ended; never raises for a server."""
        # That it is under way is told before a busy server tells whether the model is in memory.
        self.answer.add(TryBegan())
        asking = asyncio.create_task(self._ask())
        cut: TryEnd | None = None
        while not asking.done():
            await asyncio.wait({asking}, timeout=TELL_EVERY_S)
            if cut is None and not asking.done():
                cut = await asyncio.to_thread(self._tell)
                if cut is not None:
                    asking.cancel()
        # What ended by itself in the same moment was not cut.
        was_cut = asking.cancelled() or asking.exception() is not None
        end = cut if cut and was_cut else _end_of(asking)
        told = end.model_copy(update={**self._figures(), "place": await self._place()})
        await asyncio.to_thread(self.answer.end, told)

    async def _ask(self) -> TryEnd:
        try:
            body = await asyncio.to_thread(self._prepare)
        except EngineDown as down:
            raise ChatFailed(unreached(down, self._order.model)) from down
        self._asked_at = time.monotonic()
        async with aclosing(chat(self.url, body)) as lines:
            async for line in lines:
                self._take(line)
        last = self._last
        return TryEnd(outcome="length" if last and last.done_reason == "length" else "answered")

    def _prepare(self) -> dict[str, Any]:
        """Return what to ask. Raises ``EngineDown``, or ``ChatFailed`` where it makes no sense."""
        model = self._order.model
        able = self._watch.engine.capabilities(model)
        if able is not None and "completion" not in able:
            raise ChatFailed(f"{model} cannot answer: it only makes embeddings.")
        loaded = find_entry(self._node, self._watch, model)
        self._was_loaded = loaded is not None
        self.answer.add(TryBegan(was_loaded=self._was_loaded))
        options: dict[str, int] = {"num_predict": self._own.limits.tokens}
        # Other options than those of the loaded model would load it anew.
        if loaded and loaded.context_length:
            options["num_ctx"] = loaded.context_length
        if loaded and self._order.main_gpu is not None:
            options["main_gpu"] = self._order.main_gpu
        body = {"model": model, "options": options, "stream": True}
        if able is not None and "thinking" in able:
            # Else what it thinks would stand in the answer.
            body["think"] = True
        return body | {"messages": [{"role": "user", "content": self._prompt}]}

    def _take(self, line: ChatLine) -> None:
        if not self._first_at and (line.message.thinking or line.message.content):
            self._first_at = time.monotonic()
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        self.answer.add_text(line.message.thinking, thinking=True)
        self.answer.add_text(line.message.content, thinking=False)
        if line.done:
            self._last = line

    def _tell(self) -> TryEnd | None:
        """Tell what came; return how it ends where it must end before its time."""
        limits = self._own.limits
        try:
            self.answer.flush()
            if self._own.store.is_try_wanted(self._order.try_id):
                self._wanted_at = time.monotonic()
            else:
                return TryEnd(outcome="stopped")
        except StoreDown:
            if time.monotonic() - self._wanted_at > WISH_S:
                return TryEnd(outcome="stopped")
        if self._own.stopping.is_set():
            return _failed("The node's worker was stopped.")
        if self.answer.size_bytes > limits.answer_bytes:
            return TryEnd(outcome="too_long")
        is_late = time.monotonic() - self._began_at > limits.seconds
        return TryEnd(outcome="too_late") if is_late else None

    def _figures(self) -> dict[str, float | None]:
        last, first = self._last, self._first_at
        return {
            "is_empty": self.answer.is_empty,
            "was_loaded": self._was_loaded,
            "first_token_s": first - self._asked_at if first else None,
            "load_s": _seconds(last.load_duration) if last else None,
            "prompt_tokens": last.prompt_eval_count if last else None,
            "prompt_s": _seconds(last.prompt_eval_duration) if last else None,
            "answer_tokens": last.eval_count if last else None,
            "answer_s": _seconds(last.eval_duration) if last else None,
        }

    async def _place(self) -> TryPlace | None:
        """Return where the model was when its first token came: after its end it may be gone."""
        if self._looking is None:
            return None
        done, _ = await asyncio.wait({self._looking}, timeout=PLACE_S)
        return self._looking.result() if done else None

    def _look(self) -> TryPlace:
        return look(self._node, self._watch, self._order.model).place


def _end_of(asking: "asyncio.Task[TryEnd]") -> TryEnd:
    try:
        return asking.result()
    except ChatFailed as failed:
        return _failed(str(failed))
    except Exception:  # a fault of ours is told too
        log.exception("try failed")
        return _failed("LabDash's worker failed; its log says why.")


def _failed(reason: str) -> TryEnd:
    return TryEnd(outcome="failed", reason=reason)


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / NANOSECONDS
