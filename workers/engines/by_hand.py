"""One order about a name that somebody gave by hand: copy, rename, delete, quantize."""

from datetime import UTC, datetime
from typing import Any

import httpx

from workers.engines.asking import Refused, ask, asked
from workers.engines.create import answered, follow, unload
from workers.engines.create_reasons import explain
from workers.engines.guard import Cut, Guarded
from workers.engines.load_reasons import clean
from workers.engines.names import canonical_name, listed_name
from workers.wire import NameOrder, NamePhase, NameProgress

# Holds what a copy replaces until it is done: files that no name needs go only with a name.
REPLACED = "labdash-replaced"


def progress(order: NameOrder, phase: NamePhase, **told: Any) -> NameProgress:
    """Return a report about an order."""
    now = datetime.now(UTC)
    common = {"node": order.node, "job_id": order.job_id, "act": order.act}
    return NameProgress(sent_at=now, phase=phase, **common, **told)


class ByHand(Guarded[NameOrder]):
    """Carries one order out and says how it stands; carried out twice, it is the same as once."""

    async def run(self) -> NameProgress:
        """Do it, and return how it ended; never raises for a server."""
        order = self._order
        try:
            digest = await self._guarded(
                self._act(),
                is_cancelled=self._store.is_name_cancelled,
                beat=lambda: progress(order, "working"),
            )
        except Cut as cut:
            return progress(order, cut.phase, meaning=cut.meaning)
        except Refused as refused:
            meaning = refused.meaning or explain(refused.text, model=order.target or order.model)
            reason = clean(refused.text) or None
            return progress(order, "failed", reason=reason, meaning=meaning)
        finally:
            self._watch.refresh()
        return progress(order, "done", digest=digest)

    async def _act(self) -> str | None:
        """Do it; return what the target stands for by now."""
        order = self._order
        if order.act == "delete" or order.target is None:
            await self._delete()
            return None
        if order.act == "quantize":
            return await self._quantize(order.target)
        return await self._copy(order.target)

    # --- what it does ----------------------------------------------------------------------------

    async def _copy(self, target: str) -> str:
        order, names = self._order, await self._names()
        if canonical_name(order.model) == canonical_name(target):
            text = f"For Ollama {order.model} and {target} are the same name."
            raise Refused("", meaning=text)
        source, there = _of(names, order.model), _of(names, target)
        is_there = there is not None and order.digest in {None, there}
        if source is None and is_there and order.act == "rename":
            # It was renamed before, and nobody heard of it.
            return there or ""
        digest = self._expected(source)
        if there not in {None, digest} and not order.replaces:
            text = (
                f"{target} is another model on this server: delete it first, or take another name."
            )
            raise Refused("", meaning=text)
        if there != digest:
            await self._put(target, there)
        await self._drop(self._spare)
        if order.act == "rename":
            await self._drop(order.model)
        return digest

    async def _put(self, target: str, there: str | None) -> None:
        """Give the target its new content; what it stood for goes with the files of it alone."""
        spare = self._spare
        if there is not None and _of(await self._names(), spare) is None:
            await self._post_copy(target, spare)
        await self._post_copy(self._order.model, target)

    async def _delete(self) -> None:
        digest = _of(await self._names(), self._order.model)
        if digest is not None:
            self._expected(digest)
            await self._drop(self._order.model)

    async def _quantize(self, target: str) -> str:
        """Let Ollama make a smaller file, which says nothing until it is nearly done."""
        order, names = self._order, await self._names()
        self._expected(_of(names, order.model))
        if _of(names, target) is not None:
            raise Refused("", meaning=f"{target} is there already: delete it first.")
        body = {"model": target, "from": order.model, "quantize": order.quant, "stream": True}
        async with asked(self._watch.spec.url, "POST", "/api/create", body) as answer:
            await follow(answer, model=target)
        made = _of(await self._names(), target)
        if made is None:
            raise Refused("", meaning=f"Ollama said that it succeeded, and does not list {target}.")
        return made

    # --- asking ----------------------------------------------------------------------------------

    @property
    def _spare(self) -> str:
        return f"{REPLACED}/job-{self._order.job_id}:latest"

    def _expected(self, digest: str | None) -> str:
        """Return what the name stands for. Raises ``Refused`` where that is not as expected."""
        order = self._order
        if digest is None:
            raise Refused("", meaning=f"{order.model} is not on this server any more.")
        if order.digest not in {None, digest}:
            text = f"{order.model} was changed in the meantime, so nothing was done to it."
            raise Refused("", meaning=text)
        return digest

    async def _names(self) -> dict[str, str]:
        """Return the digests of all names, in small letters as Ollama finds them."""
        listed = await answered(self._watch.engine.digests)
        return {name.lower(): digest for name, digest in listed}

    async def _drop(self, name: str) -> None:
        """Unload and delete a name; one that is not there is gone."""
        listed = listed_name(name).lower()
        spelled = next(
            (
                each
                for each, _ in await answered(self._watch.engine.digests)
                if each.lower() == listed
            ),
            None,
        )
        if spelled is None:
            return
        await unload(self._watch, spelled)
        try:
            await ask(self._watch.spec.url, "DELETE", "/api/delete", {"model": spelled})
        except Refused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise

    async def _post_copy(self, source: str, target: str) -> None:
        body = {"source": source, "destination": target}
        await ask(self._watch.spec.url, "POST", "/api/copy", body)


def _of(names: dict[str, str], name: str) -> str | None:
    return names.get(listed_name(name).lower())
