"""A pull from within the lab: which address answers, and the model's own name afterwards.

Ollama pulls ``host:port/secret/model:tag`` and lists it under that name. A copy gives it its own
one, with the same manifest and no byte more, and the long name goes.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import httpx

from workers.engines.asking import Refused, ask
from workers.engines.base import EngineDown
from workers.engines.names import is_copy, listed_name, model_and_tag, without_places
from workers.engines.reasons import Reason
from workers.engines.watch import InstanceWatch
from workers.mirror.shelf import MOST_MANIFEST_BYTES
from workers.wire import Origin
from workers.wire.origins import SEAL_HEADER, sealed

# On a home network an answer takes milliseconds; a machine that wakes is tried again by the hub.
PROBE_S = 3.0
RENAME_S = 60.0
PLAIN_PORT = 80
# Holds what a copy replaces until it is done: files that no name needs go only with a name.
REPLACED = "labdash-replaced/pull-"
_OTHER = "has another version of it than was expected"

log = logging.getLogger(__name__)


class Nearby:
    """One model that comes from ``origin`` to a server."""

    def __init__(self, origin: Origin, model: str, watch: InstanceWatch, *, job_id: int) -> None:
        self._origin = origin
        self._model = listed_name(model)
        self._watch = watch
        self._spare = f"{REPLACED}{job_id}:latest"
        self._host = ""
        self.name = ""

    @property
    def is_sure(self) -> bool:
        """Whether it has all of the model now: a cache may have to wait for it itself."""
        return self._origin.digest is not None

    def reach(self) -> Reason | None:
        """Find the address that has it, and so the name to pull; or return why there is none.

        What a server on another machine reaches is not known here: that one tries the first.
        """
        hosts, answers = self._origin.hosts, asyncio.run(self._probe_all())
        good = [host for host, why in zip(hosts, answers, strict=True) if not why]
        is_remote = self._watch.place.look().home == "remote"
        if not good and not is_remote:
            told = "; ".join(f"{host}: {why}" for host, why in zip(hosts, answers, strict=True))
            text = f"{self._origin.giver} is not reached at port {self._origin.port} ({told})."
            return Reason(text=text, retry=True, cause="unreachable")
        self._host = (good or [*hosts])[0]
        self.name = self._name(self._host)
        return None

    def adopt(self) -> Reason | None:
        """Give what has come its own name; or return why it is not what was wanted."""
        try:
            return asyncio.run(asyncio.wait_for(self._adopt(), RENAME_S))
        except (Refused, EngineDown, TimeoutError) as error:
            why = without_places(str(error))
            log.warning("copied model not renamed model=%s error=%s", self._model, why)
            text = f"It has come, and Ollama did not give it its name {self._model}: {why}"
            return Reason(text=text, retry=True, cause="server-away")

    def clear(self) -> None:
        """Delete names that earlier copies left behind, as where a worker was killed.

        What has come whole stays until it has its own name: it need not come twice.
        """
        clear_copies(self._watch, kept=self._origin)

    # --- reaching --------------------------------------------------------------------------------

    async def _probe_all(self) -> list[str]:
        return list(await asyncio.gather(*map(self._probe, self._origin.hosts)))

    async def _probe(self, host: str) -> str:
        """Ask an address for the manifest; return what is wrong, nothing where it is right."""
        try:
            async with self._asked(host) as answer:
                return await self._judge(answer)
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer in {PROBE_S:.0f} s, as behind a firewall"
        except (httpx.HTTPError, OSError, ValueError) as error:
            return str(error) or type(error).__name__

    async def _judge(self, answer: httpx.Response) -> str:
        if self._origin.digest is None:
            # A cache asks the registry first, in Ollama's words: that is for Ollama to do.
            return ""
        if answer.status_code != httpx.codes.OK:
            return f"it answers {answer.status_code}"
        digest = sha256(await _read(answer)).hexdigest()
        return "" if digest == self._origin.digest else f"it {_OTHER}"

    async def _proved_digest(self, seal: str) -> str | None:
        """Ask for the manifest once more; return its digest where its seal is right."""
        try:
            async with self._asked(self._host) as answer:
                manifest = await _read(answer)
        except (TimeoutError, httpx.HTTPError, OSError, ValueError):
            return None
        told = answer.headers.get(SEAL_HEADER, "").encode()
        is_right = hmac.compare_digest(told, sealed(seal, manifest).encode())
        return sha256(manifest).hexdigest() if is_right else None

    @asynccontextmanager
    async def _asked(self, host: str) -> AsyncIterator[httpx.Response]:
        model, _, tag = model_and_tag(self._model).rpartition(":")
        url = f"http://{host}:{self._origin.port}/v2/{self._origin.secret}/{model}/manifests/{tag}"
        # In all: who sends a byte now and then must not hold up a server's queue.
        async with (
            asyncio.timeout(PROBE_S),
            httpx.AsyncClient(timeout=PROBE_S, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            yield answer

    def _name(self, host: str) -> str:
        port = "" if self._origin.port == PLAIN_PORT else f":{self._origin.port}"
        return f"{host}{port}/{self._origin.secret}/{model_and_tag(self._model)}"

    # --- names -----------------------------------------------------------------------------------

    async def _adopt(self) -> Reason | None:
        names = self._names()
        digest, there = names.get(self.name.lower()), names.get(self._model.lower())
        if digest is None:
            raise Refused("Ollama said that it succeeded, and does not list it")
        wanted = self._origin.digest
        if self._origin.seal is not None:
            # Over plain HTTP, anybody on the way could have given another one.
            wanted = await self._proved_digest(self._origin.seal)
            if wanted is None:
                text = f"{self._origin.giver} did not confirm what had come, so it was not taken."
                return Reason(text=text, retry=True, cause="unreachable")
        if wanted not in {None, digest}:
            await _drop(self._watch, self.name)
            return Reason(
                text=f"{self._origin.giver} {_OTHER}, so it was deleted here.",
                retry=True,
                cause="damaged",
            )
        if there is not None and there != digest:
            await self._copy(self._model, self._spare)
        await self._copy(self.name, self._model)
        await _clear(self._watch, kept=None)
        return None

    def _names(self) -> dict[str, str]:
        return {name.lower(): digest for name, digest in self._watch.engine.digests()}

    async def _copy(self, source: str, target: str) -> None:
        body = {"source": source, "destination": target}
        await ask(self._watch.spec.url, "POST", "/api/copy", body)


async def _read(answer: httpx.Response) -> bytes:
    """Read a manifest. Raises ``ValueError`` where it is longer than any."""
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > MOST_MANIFEST_BYTES:
            raise ValueError("it sends no manifest")
    return bytes(content)


def clear_copies(watch: InstanceWatch, *, kept: Origin | None = None) -> None:
    """Delete names of copies and what they replaced, but what came whole from ``kept``.

    Only between pulls, of which a server has one at a time. Never raises.
    """
    try:
        asyncio.run(asyncio.wait_for(_clear(watch, kept=kept), RENAME_S))
    except (Refused, EngineDown, TimeoutError) as error:
        log.info("names of copies not deleted: %s", without_places(str(error)))


async def _clear(watch: InstanceWatch, *, kept: Origin | None) -> None:
    for name, digest in watch.engine.digests():
        is_kept = kept is not None and (digest == kept.digest or f"/{kept.secret}/" in name)
        if name.startswith(REPLACED) or (is_copy(name) and not is_kept):
            await _drop(watch, name)


async def _drop(watch: InstanceWatch, name: str) -> None:
    try:
        await ask(watch.spec.url, "DELETE", "/api/delete", {"model": name})
    except Refused as refused:
        if refused.status != httpx.codes.NOT_FOUND:
            raise
