"""A pull from within the lab: which address answers, and the model's own name afterwards.

Ollama pulls ``host:port/secret/model:tag`` and lists it under that name. A copy gives it its own
one, with the same manifest and no byte more, and the long name goes.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx

from workers.engines.asking import Refused, ask
from workers.engines.base import EngineDown
from workers.engines.names import is_copy, listed_name, model_and_tag
from workers.engines.reasons import Reason
from workers.engines.watch import InstanceWatch
from workers.mirror.shelf import MOST_MANIFEST_BYTES
from workers.wire import Origin

# On a home network an answer takes milliseconds; a machine that wakes is tried again by the hub.
PROBE_S = 3.0
RENAME_S = 60.0
PLAIN_PORT = 80
# Holds what a copy replaces until it is done: files that no name needs go only with a name.
REPLACED = "labdash-replaced"
_OTHER = "has another version of it than was expected"

log = logging.getLogger(__name__)


class Nearby:
    """One model that comes from ``origin`` to a server."""

    def __init__(self, origin: Origin, model: str, watch: InstanceWatch, *, job_id: int) -> None:
        self._origin = origin
        self._model = listed_name(model)
        self._watch = watch
        self._spare = f"{REPLACED}/pull-{job_id}:latest"
        self.name = ""

    @property
    def is_sure(self) -> bool:
        """Whether it has all of the model now: a cache may have to wait for it itself."""
        return self._origin.digest is not None

    def reach(self) -> Reason | None:
        """Find the address that has it, and so the name to pull; or return why there is none.

        What a server on another machine reaches is not known here: that one tries the first.
        """
        hosts = self._origin.hosts
        with ThreadPoolExecutor(len(hosts)) as pool:
            answers = list(pool.map(self._probe, hosts))
        good = [host for host, why in zip(hosts, answers, strict=True) if not why]
        is_remote = self._watch.place.look().home == "remote"
        if not good and not is_remote:
            told = "; ".join(f"{host}: {why}" for host, why in zip(hosts, answers, strict=True))
            text = f"{self._origin.giver} is not reached at port {self._origin.port} ({told})."
            return Reason(text=text, retry=True, cause="unreachable")
        self.name = self._name((good or [*hosts])[0])
        return None

    def adopt(self) -> Reason | None:
        """Give what has come its own name; or return why it is not what was wanted."""
        try:
            return asyncio.run(asyncio.wait_for(self._adopt(), RENAME_S))
        except (Refused, EngineDown, TimeoutError) as error:
            log.warning("copied model not renamed model=%s error=%s", self._model, error)
            return Reason(
                text=f"It has come, and Ollama did not give it its name {self._model}: {error}",
                retry=True,
                cause="server-away",
            )

    def clear(self) -> None:
        """Delete names that earlier copies left behind, as where a worker was killed."""
        try:
            asyncio.run(asyncio.wait_for(self._clear(), RENAME_S))
        except (Refused, EngineDown, TimeoutError) as error:
            log.info("names of earlier copies not deleted: %s", error)

    # --- reaching --------------------------------------------------------------------------------

    def _probe(self, host: str) -> str:
        """Ask an address for the manifest; return what is wrong, nothing where it is right."""
        model, _, tag = model_and_tag(self._model).rpartition(":")
        url = f"http://{host}:{self._origin.port}/v2/{self._origin.secret}/{model}/manifests/{tag}"
        try:
            with (
                httpx.Client(timeout=PROBE_S, trust_env=False) as client,
                client.stream("GET", url) as answer,
            ):
                return self._judge(answer)
        except httpx.TimeoutException:
            return f"no answer in {PROBE_S:.0f} s, as behind a firewall"
        except (httpx.HTTPError, OSError, ValueError) as error:
            return str(error) or type(error).__name__

    def _judge(self, answer: httpx.Response) -> str:
        if self._origin.digest is None:
            # A cache asks the registry first, in Ollama's words: that is for Ollama to do.
            return ""
        if answer.status_code != httpx.codes.OK:
            return f"it answers {answer.status_code}"
        digest, length = sha256(), 0
        for chunk in answer.iter_raw():
            length += len(chunk)
            if length > MOST_MANIFEST_BYTES:
                return "it sends no manifest"
            digest.update(chunk)
        return "" if digest.hexdigest() == self._origin.digest else f"it {_OTHER}"

    def _name(self, host: str) -> str:
        port = "" if self._origin.port == PLAIN_PORT else f":{self._origin.port}"
        return f"{host}{port}/{self._origin.secret}/{model_and_tag(self._model)}"

    # --- names -----------------------------------------------------------------------------------

    async def _adopt(self) -> Reason | None:
        names = self._names()
        digest, there = names.get(self.name.lower()), names.get(self._model.lower())
        if digest is None:
            raise Refused("Ollama said that it succeeded, and does not list it")
        if self._origin.digest not in {None, digest}:
            await self._drop(self.name)
            return Reason(
                text=f"{self._origin.giver} {_OTHER}, so it was deleted here.",
                retry=True,
                cause="damaged",
            )
        if there is not None and there != digest:
            await self._copy(self._model, self._spare)
        await self._copy(self.name, self._model)
        await self._clear()
        return None

    async def _clear(self) -> None:
        for name in self._listed():
            if is_copy(name) or name.lower() == self._spare:
                await self._drop(name)

    def _listed(self) -> list[str]:
        return [name for name, _ in self._watch.engine.digests()]

    def _names(self) -> dict[str, str]:
        return {name.lower(): digest for name, digest in self._watch.engine.digests()}

    async def _copy(self, source: str, target: str) -> None:
        body = {"source": source, "destination": target}
        await ask(self._watch.spec.url, "POST", "/api/copy", body)

    async def _drop(self, name: str) -> None:
        try:
            await ask(self._watch.spec.url, "DELETE", "/api/delete", {"model": name})
        except Refused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise
