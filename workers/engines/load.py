"""One order about a model in memory: load it, change how long it stays, or unload it."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from workers.engines.base import EngineDown
from workers.engines.http import CONNECT_S
from workers.engines.http import explain as explain_http
from workers.engines.load_judge import judge
from workers.engines.load_reasons import clean, explain
from workers.engines.server_log import LogTail, read_log
from workers.engines.watch import InstanceWatch
from workers.engines.where import HARDWARE_S, find_entry, look
from workers.nodewatch import NodeWatch
from workers.store import Store, StoreDown
from workers.wire import LoadOrder, LoadPhase, LoadProgress
from workers.wire.loads import LOAD_BEAT_S

# So often the store is asked whether it is still wanted.
LOOK_EVERY_S = 0.3
# Ollama lists a model only a moment after it has said that it is loaded, and while it unloads.
LIST_EVERY_S = 0.3
LISTED_WITHIN_S = 3.0
MOST_ANSWER_BYTES = 64 * 1024


class Refused(Exception):  # noqa: N818 - named for what the server did
    """The server did not do it; ``text`` is what it said, or what became of it."""

    def __init__(self, text: str, *, status: int | None = None, meaning: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.meaning = meaning


def progress(order: LoadOrder, phase: LoadPhase, **told: Any) -> LoadProgress:
    """Return a report about an order."""
    now = datetime.now(UTC)
    return LoadProgress(node=order.node, sent_at=now, job_id=order.job_id, phase=phase, **told)


def failed(order: LoadOrder, meaning: str, *, phase: LoadPhase = "failed") -> LoadProgress:
    """Return the end of an order that came to nothing."""
    return progress(order, phase, meaning=meaning)


class Load:
    """Carries one order out and says how it stands."""

    def __init__(
        self,
        order: LoadOrder,
        *,
        node: NodeWatch,
        watch: InstanceWatch,
        store: Store,
        stopping: threading.Event,
    ) -> None:
        self._order, self._node, self._watch = order, node, watch
        self._store, self._stopping = store, stopping
        self._began_at = time.monotonic()
        self._told_at = float("-inf")

    async def run(self) -> LoadProgress:
        """Do it, and return how it ended; never raises for a server."""
        acting = asyncio.create_task(self._act())
        cut: LoadProgress | None = None
        while not acting.done():
            await asyncio.wait({acting}, timeout=LOOK_EVERY_S)
            if cut is None and not acting.done():
                cut = await asyncio.to_thread(self._tell)
                if cut is not None:
                    # Ollama gives a load up when its client leaves.
                    acting.cancel()
        if cut is not None and acting.cancelled():
            return cut
        try:
            return acting.result()
        except Refused as refused:
            return await asyncio.to_thread(self._refusal, refused)

    def _tell(self) -> LoadProgress | None:
        """Say that it goes on; return how it ends where it must end now."""
        if time.monotonic() - self._told_at >= LOAD_BEAT_S:
            self._told_at = time.monotonic()
            self._store.send(progress(self._order, "loading"))
        try:
            if self._store.is_load_cancelled(self._order.job_id):
                return failed(self._order, "Cancelled.", phase="cancelled")
        except StoreDown:
            pass
        if self._stopping.is_set():
            return failed(self._order, "The node's worker was stopped in the middle of it.")
        if time.monotonic() - self._began_at > self._order.deadline_s:
            return failed(self._order, f"Given up after {self._order.deadline_s / 60:.0f} minutes.")
        return None

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
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        content = bytearray()
        try:
            async with (
                httpx.AsyncClient(
                    base_url=self._watch.spec.url, timeout=timeout, trust_env=False
                ) as client,
                client.stream("POST", path, json={"model": self._order.model, **body}) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    content += chunk[: MOST_ANSWER_BYTES - len(content)]
        except httpx.HTTPError as error:
            down = explain_http(error)
            raise Refused(down.reason, meaning=_away(down)) from error
        error_text = _error_of(bytes(content))
        if answer.status_code != httpx.codes.OK or error_text is not None:
            raise Refused(error_text or f"status {answer.status_code}", status=answer.status_code)

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


def _away(down: EngineDown) -> str:
    if down.state in {"refused", "unreachable"}:
        return "Ollama does not answer. See whether it runs."
    return "Ollama went away in the middle of it. See whether it runs."


def _error_of(content: bytes) -> str | None:
    """Return what an answer says went wrong: an error may come with status 200."""
    try:
        answer = json.loads(content)
    except ValueError:
        return content[:500].decode(errors="replace").strip() or None
    error = answer.get("error") if isinstance(answer, dict) else None
    return None if error is None else error if isinstance(error, str) else json.dumps(error)
