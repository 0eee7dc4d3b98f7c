"""One order about a model in memory: load it, change how long it stays, or unload it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from workers.engines.asking import Refused, ask
from workers.engines.base import EngineDown
from workers.engines.guard import Cut, Guarded
from workers.engines.load_judge import judge
from workers.engines.load_reasons import clean, explain
from workers.engines.server_log import LogTail, read_log
from workers.engines.where import HARDWARE_S, find_entry, look
from workers.wire import LoadOrder, LoadPhase, LoadProgress

# Ollama lists a model only a moment after it has said that it is loaded, and while it unloads.
LIST_EVERY_S = 0.3
LISTED_WITHIN_S = 3.0


def progress(order: LoadOrder, phase: LoadPhase, **told: Any) -> LoadProgress:
    """Return a report about an order."""
    now = datetime.now(UTC)
    return LoadProgress(node=order.node, sent_at=now, job_id=order.job_id, phase=phase, **told)


def failed(order: LoadOrder, meaning: str, *, phase: LoadPhase = "failed") -> LoadProgress:
    """Return the end of an order that came to nothing."""
    return progress(order, phase, meaning=meaning)


class Load(Guarded[LoadOrder]):
    """Carries one order out and says how it stands."""

    async def run(self) -> LoadProgress:
        """Do it, and return how it ended; never raises for a server."""
        order = self._order
        try:
            return await self._guarded(
                self._act(),
                is_cancelled=self._store.is_load_cancelled,
                beat=lambda: progress(order, "loading"),
            )
        except Cut as cut:
            return failed(order, cut.meaning, phase=cut.phase)
        except Refused as refused:
            return await asyncio.to_thread(self._refusal, refused)

    async def _act(self) -> LoadProgress:
        acts = {"load": self._load, "keep": self._keep, "unload": self._unload}
        return await acts[self._order.wish]()

    async def _load(self) -> LoadProgress:
        order = self._order
        before = await asyncio.to_thread(self._node.gpus, wait_s=HARDWARE_S)
        options = {"num_ctx": order.context, "main_gpu": order.main_gpu}
        await self._ask({name: value for name, value in options.items() if value is not None})
        await self._until(listed=True, within_s=LISTED_WITHIN_S)
        seen = await asyncio.to_thread(look, self._node, self._watch, order.model)
        verdict = judge(order, seen, before)
        tail = await self._log() if verdict.has_spilled else LogTail()
        return progress(
            order,
            "loaded",
            meaning=verdict.meaning,
            log=tail.lines,
            log_note=tail.note,
            place=seen.place,
            expires_at=seen.entry.expires_at if seen.entry else None,
        )

    async def _keep(self) -> LoadProgress:
        """Send the options that it was loaded with: with others, Ollama would load it anew."""
        order = self._order
        before = await asyncio.to_thread(look, self._node, self._watch, order.model)
        if before.entry is None:
            raise Refused("", meaning="It is not in memory any more: load it.")
        options = {"num_ctx": before.entry.context_length, "main_gpu": order.main_gpu}
        await self._ask({name: value for name, value in options.items() if value is not None})
        after = await asyncio.to_thread(look, self._node, self._watch, order.model)
        is_new = before.pids and after.pids and not before.pids & after.pids
        meaning = "Ollama loaded it anew: another program had set options of its own."
        return progress(
            order,
            "loaded",
            meaning=meaning if is_new else None,
            place=after.place,
            expires_at=after.entry.expires_at if after.entry else None,
        )

    async def _unload(self) -> LoadProgress:
        """Ask, and wait until it is gone: one that answers somebody stays until it has."""
        try:
            await self._post("/api/generate", {"keep_alive": 0})
        except Refused as refused:
            if refused.status == httpx.codes.NOT_FOUND and await self._is_listed():
                refused.meaning = (
                    "The model was deleted while it was in memory, and Ollama knows its name no"
                    " more. It leaves when its time ends. To free it now, pull it again and unload"
                    " it, or restart Ollama."
                )
            raise
        await self._until(listed=False, within_s=float("inf"))
        return progress(self._order, "unloaded")

    # --- asking ----------------------------------------------------------------------------------

    async def _ask(self, options: dict[str, int]) -> None:
        able = await asyncio.to_thread(self._abilities)
        body: dict[str, Any] = {"keep_alive": self._order.keep_s, "options": options}
        is_embedding = able is not None and "completion" not in able and "embedding" in able
        if is_embedding:
            await self._post("/api/embed", {**body, "input": []})
        else:
            await self._post("/api/generate", {**body, "stream": False})

    def _abilities(self) -> tuple[str, ...] | None:
        """Return what the model can do; where its server does not say, the load itself will."""
        try:
            return self._watch.engine.capabilities(self._order.model)
        except EngineDown:
            return None

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        await ask(self._watch.spec.url, "POST", path, {"model": self._order.model, **body})

    async def _until(self, *, listed: bool, within_s: float) -> None:
        until = time.monotonic() + within_s
        while await self._is_listed() != listed:
            if time.monotonic() > until:
                return
            await asyncio.sleep(LIST_EVERY_S)

    async def _is_listed(self) -> bool:
        """Tell whether the model is in memory; of a server that is busy, as it was wanted last."""
        try:
            entry = await asyncio.to_thread(find_entry, self._node, self._watch, self._order.model)
        except EngineDown:
            return True
        return entry is not None

    # --- what went wrong -------------------------------------------------------------------------

    def _refusal(self, refused: Refused) -> LoadProgress:
        gpus = len(self._node.gpus(wait_s=HARDWARE_S)) or None
        meaning = refused.meaning or explain(
            refused.text, version=self._version(), main_gpu=self._order.main_gpu, gpus=gpus
        )
        tail = LogTail() if refused.meaning else read_log(self._watch.place, self._watch.spec.url)
        return progress(
            self._order,
            "failed",
            reason=clean(refused.text),
            meaning=meaning,
            log=tail.lines,
            log_note=tail.note,
        )

    async def _log(self) -> LogTail:
        return await asyncio.to_thread(read_log, self._watch.place, self._watch.spec.url)

    def _version(self) -> str | None:
        try:
            return self._watch.engine.version()
        except EngineDown:
            return None
