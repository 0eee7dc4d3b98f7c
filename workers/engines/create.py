"""One order about a name of LabDash's own: make it from an installed model, or delete it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from workers.engines.asking import (
    MOST_ANSWER_BYTES,
    SILENT,
    Refused,
    ask,
    asked,
    raise_refusal,
    start_of,
)
from workers.engines.base import EngineDown
from workers.engines.create_reasons import explain
from workers.engines.guard import Cut, Guarded
from workers.engines.load_reasons import clean
from workers.engines.ollama import Named
from workers.engines.watch import InstanceWatch
from workers.wire import ApplyPhase, ApplyProgress, ApplyStep, CreateOrder, DeleteOrder

LIST_EVERY_S = 0.3
# Negative: the engine chooses, as where nothing is set. Of the others, null counts for nothing.
UNSET_NUM_GPU = -1

type AliasOrder = CreateOrder | DeleteOrder


def progress(order: AliasOrder, phase: ApplyPhase, **told: Any) -> ApplyProgress:
    """Return a report about an order."""
    step: ApplyStep = "create" if isinstance(order, CreateOrder) else "delete"
    now = datetime.now(UTC)
    return ApplyProgress(
        node=order.node, sent_at=now, job_id=order.job_id, step=step, phase=phase, **told
    )


class Naming(Guarded[AliasOrder]):
    """Carries one order out and says how it stands."""

    async def run(self) -> ApplyProgress:
        """Do it, and return how it ended; never raises for a server."""
        order = self._order
        try:
            await self._guarded(
                self._act(),
                is_cancelled=self._store.is_apply_cancelled,
                beat=lambda: progress(order, "working"),
            )
        except Cut as cut:
            return progress(order, cut.phase, meaning=cut.meaning)
        except Refused as refused:
            return self._refusal(refused)
        self._watch.refresh()
        return progress(order, "done")

    def _refusal(self, refused: Refused) -> ApplyProgress:
        meaning = refused.meaning or explain(refused.text, model=self._order.model)
        reason = clean(refused.text) or None
        return progress(self._order, "failed", reason=reason, meaning=meaning)

    async def _act(self) -> None:
        order = self._order
        if isinstance(order, CreateOrder):
            await self._create(order)
        else:
            await self._delete(order)

    # --- making ----------------------------------------------------------------------------------

    async def _create(self, order: CreateOrder) -> None:
        base = await self._base(order)
        if order.model != order.base:
            self._require_own(await self._find(order.model))
        body = {
            "model": order.model,
            "from": order.base,
            "parameters": parameters(order, base),
            "stream": True,
        }
        async with asked(self._watch.spec.url, "POST", "/api/create", body) as answer:
            await follow(answer, model=order.model)
        self._node.note_name(self._watch.spec.name, order.model, like=base.name)

    async def _base(self, order: CreateOrder) -> Named:
        """Return what it is made from: of one that is not there, Ollama would begin a pull."""
        base = await self._find(order.base)
        if base is None:
            text = f"{order.base} is not installed on this server, so no name was made of it."
            raise Refused("", meaning=f"{text} Pull it first.")
        if base.is_cloud:
            raise Refused("", meaning=f"{order.base} runs in Ollama's cloud: it has no options.")
        return base

    # --- deleting --------------------------------------------------------------------------------

    async def _delete(self, order: DeleteOrder) -> None:
        found = await self._find(order.model)
        if found is None:
            return
        self._require_own(found)
        await unload(self._watch, found.name)
        try:
            await ask(self._watch.spec.url, "DELETE", "/api/delete", {"model": found.name})
        except Refused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise

    # --- both ------------------------------------------------------------------------------------

    async def _find(self, model: str) -> Named | None:
        engine = self._watch.engine
        return await answered(lambda: engine.find(model))

    def _require_own(self, found: Named | None) -> None:
        """Refuse a name that was pulled: only what was made from another can be LabDash's."""
        if found is not None and not found.parent:
            text = f"{found.name} was pulled, not made by LabDash, so it is left as it is."
            raise Refused("", meaning=text)


def parameters(order: CreateOrder, base: Named) -> dict[str, int | None]:
    """Return the options to be kept. What the base keeps and the order leaves unset is unset.

    For options of a base pass on, and can be overwritten but not removed.
    """
    wanted = order.parameters.model_dump()
    unset: dict[str, int | None] = {
        name: UNSET_NUM_GPU if name == "num_gpu" else None
        for name, value in wanted.items()
        if value is None and name in base.parameters
    }
    return unset | {name: value for name, value in wanted.items() if value is not None}


async def follow(answer: httpx.Response, *, model: str) -> None:
    """Read how a creation goes, to its end. Raises ``Refused``."""
    if answer.status_code != httpx.codes.OK:
        raise_refusal(await start_of(answer), status=answer.status_code)
    status = ""
    async for line in _lines(answer):
        raise_refusal(line, status=answer.status_code)
        status = _status_of(line)
        if status.startswith("pulling"):
            text = f"{model}: its model was deleted in this moment. Pull it again."
            raise Refused("", meaning=text)
    if status != "success":
        raise Refused("", meaning="Ollama ended without saying that it succeeded. Try again.")


async def unload(watch: InstanceWatch, name: str) -> None:
    """Unload what was loaded by this name: once it is deleted, Ollama cannot do so any more."""
    engine = watch.engine

    def is_loaded() -> bool:
        return any(entry.name == name for entry in engine.loaded())

    if not await answered(is_loaded):
        return
    await ask(watch.spec.url, "POST", "/api/generate", {"model": name, "keep_alive": 0})
    while True:
        await asyncio.sleep(LIST_EVERY_S)
        if not await answered(is_loaded):
            return


async def answered[T](question: Callable[[], T]) -> T:
    """Ask a server in a thread. Raises ``Refused`` where it gives no answer."""
    try:
        return await asyncio.to_thread(question)
    except EngineDown as down:
        raise Refused(down.reason, meaning=SILENT) from down


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the lines of an answer; one that is too long is none of Ollama's."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        if any(len(line) > MOST_ANSWER_BYTES for line in (*whole, rest)):
            raise Refused("", meaning="What answers there does not answer like Ollama.")
        for line in filter(bytes.strip, whole):
            yield line
    if rest.strip():
        yield rest


def _status_of(line: bytes) -> str:
    said = json.loads(line)
    return str(said.get("status", "")) if isinstance(said, dict) else ""
