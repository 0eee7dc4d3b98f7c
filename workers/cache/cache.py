"""The cache as a registry: who knows the secret of a grant gets that one model through it."""

import asyncio
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

from workers.cache.addresses import Address, BadAddress, address_of
from workers.cache.arrival import Arrival
from workers.cache.arrivals import Arrivals, CannotArrive
from workers.cache.counting import Count
from workers.cache.files import Files
from workers.cache.manifests import (
    BadManifest,
    Manifest,
    is_too_old,
    needed_version,
    read_manifest,
)
from workers.cache.manifests import Blob as Named
from workers.cache.upstream import Upstream, UpstreamBad, UpstreamDown
from workers.mirror import shelf
from workers.mirror.shelf import UNKNOWN, Asked, FileBlob, Outlet, Refusal, find_secret
from workers.wire.caching import CacheSpec
from workers.wire.origins import SEAL_HEADER, sealed

# Ten machines that pull one model ask the registry once for its manifest.
ANSWER_KEPT_S = 10.0
MOST_ANSWERS = 200
# A secret that is not known may be newer than what was read; but guessing must not be costly.
REREAD_EVERY_S = 0.2
THREADS = 32
# Templates, settings, licences.
CRUMB_BYTES = 2**20
# What is said of itself is said on to registries.
_OLLAMA = re.compile(r"ollama/[ -~]{1,200}")
TOO_OLD = "this model requires a newer version of Ollama"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    result: Manifest | Refusal
    at: float


@dataclass(frozen=True, kw_only=True)
class _Grant:
    address: Address
    seal: str | None

    def seals(self, body: bytes) -> shelf.Manifest:
        headers = {SEAL_HEADER: sealed(self.seal, body)} if self.seal else {}
        return shelf.Manifest(body=body, headers=headers)


class Cache:
    """Serves what the spec grants.

    ``reread`` is called where a secret is new: it may be in a spec that is newer.
    """

    def __init__(self, files: Files, upstream: Upstream, arrivals: Arrivals, count: Count) -> None:
        self.files, self.arrivals, self.count = files, arrivals, count
        self.reread: Callable[[], None] = lambda: None
        self._upstream = upstream
        self._grants: list[tuple[str, _Grant]] = []
        self._ahead: dict[Address, str] = {}
        self._answers: dict[tuple[Address, str], _Answer] = {}
        self._named: dict[Address, dict[str, Named]] = {}
        self._asking: dict[Address, threading.Lock] = {}
        self._read_at = 0.0
        # Registries and disks are waited for here: the loops of the servers are for the network.
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")
        # Apart from these, who guesses secrets waits for who did so before.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="cache-spec")

    def follow(self, spec: CacheSpec) -> None:
        """Take up what is wanted now; what is wanted no more ends at once."""
        names = (*(each.model for each in spec.grants), *(each.model for each in spec.ahead))
        places = _places(names)
        self._grants = [
            (each.secret, _Grant(address=places[each.model], seal=each.seal))
            for each in spec.grants
            if each.model in places
        ]
        ahead = [each for each in spec.ahead if each.model in places]
        self._ahead = {places[each.model]: each.version for each in ahead}
        wanted = self.wanted
        self.arrivals.limit_bytes = spec.limit_bytes
        self.arrivals.keep_free_bytes = spec.keep_free_bytes
        self.arrivals.spared = wanted
        self.arrivals.limit(spec.bytes_per_s)
        self.arrivals.keep_only(wanted)
        self._named = {at: blobs for at, blobs in self._named.items() if at in wanted}
        self._asking = {at: lock for at, lock in self._asking.items() if at in wanted}

    def close(self) -> None:
        """Note what has arrived, and leave the registries."""
        self.arrivals.close()
        self._upstream.close()
        self._pool.shutdown(wait=False)
        self._reader.shutdown(wait=False)

    @property
    def ahead(self) -> dict[Address, str]:
        """Return what is to be fetched though nobody asks, for which version of Ollama."""
        return dict(self._ahead)

    @property
    def wanted(self) -> set[Address]:
        """Return the models that somebody may ask for now."""
        return {grant.address for _, grant in self._grants} | set(self._ahead)

    def recheck(self, address: Address) -> None:
        """Read what is here of a model again, and delete files whose digest is another by now."""
        manifest = self.files.find(address)
        for blob in manifest.blobs if manifest else ():
            if not self.files.has(blob):
                continue
            try:
                with self.files.blob_path(blob.digest).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                log.warning("not read again digest=%s: %s", blob.digest[:19], error.strerror)
                found = ""
            if f"sha256:{found}" != blob.digest:
                log.warning("damaged on disk digest=%s of=%s", blob.digest[:19], address.shown)
                self.files.delete(blob.digest)

    # --- as a shelf ------------------------------------------------------------------------------

    async def manifest(self, asked: Asked, tag: str) -> shelf.Manifest | Refusal:
        """Return a manifest as the registry has it now; while that is away, the one that is here.

        A registry that refuses is passed on, with its status: as 412 to an Ollama that is too old.
        """
        grant = await self._granted(asked)
        if grant is None or grant.address.tag.lower() != tag.lower():
            return UNKNOWN
        address = grant.address
        if not _OLLAMA.fullmatch(asked.agent):
            # A machine that only looks whether somebody is here shall not wait for a registry.
            here = self.files.find(address)
            return grant.seals(here.raw) if here else UNKNOWN
        result = await self._apart(self.look_up, address, asked.agent)
        return result if isinstance(result, Refusal) else grant.seals(result.raw)

    async def blob(self, asked: Asked, digest: str) -> shelf.Blob | Refusal:
        """Return a blob of the model, whole or on its way."""
        grant = await self._granted(asked)
        named = self._blobs(grant.address).get(digest) if grant else None
        if grant is None or named is None:
            return UNKNOWN
        try:
            arrival = await self._apart(self.arrivals.begin, grant.address, named)
        except (CannotArrive, OSError) as error:
            return Refusal(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"LabDash's cache: {error}")
        return self.give(named, arrival)

    def give(self, named: Named, arrival: Arrival | None) -> shelf.Blob:
        """Return how a blob is served."""
        given = self.counted(named)
        if arrival is not None:
            return ArrivingBlob(files=self.files, arrival=arrival, given=given)
        path = self.files.blob_path(named.digest)
        return FileBlob(path=path, size_bytes=named.size_bytes, given=given)

    def counted(self, named: Named) -> Callable[[int], None]:
        """Return what counts the bytes that are given of a blob."""
        return partial(self.count.gave, named.digest, named.size_bytes)

    async def _granted(self, asked: Asked) -> _Grant | None:
        grant = find_secret(asked.namespace, self._grants)
        if grant is None:
            loop, now = asyncio.get_running_loop(), time.monotonic()
            await loop.run_in_executor(self._reader, self._reread, now)
            grant = find_secret(asked.namespace, self._grants)
        is_same = grant is not None and grant.address.model.lower() == asked.model.lower()
        return grant if is_same else None

    def _reread(self, since: float) -> None:
        """Read the spec, unless that was begun after ``since``: one reading is for all who wait."""
        if self._read_at > since:
            return
        time.sleep(max(0.0, self._read_at + REREAD_EVERY_S - time.monotonic()))
        began = time.monotonic()
        self.reread()
        self._read_at = began

    async def _apart[**P, T](
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        work = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _blobs(self, address: Address) -> dict[str, Named]:
        """Return what may be asked for: of the manifest that is here, and of those just given."""
        manifest = self.files.find(address)
        here = {blob.digest: blob for blob in manifest.blobs} if manifest else {}
        return here | self._named.get(address, {})

    # --- manifests -------------------------------------------------------------------------------

    def look_up(self, address: Address, user_agent: str) -> Manifest | Refusal:
        """Ask the registry for a manifest, or the cache where that does not answer."""
        with self._asking.setdefault(address, threading.Lock()):
            known = self._answers.get((address, user_agent))
            if known and time.monotonic() - known.at < ANSWER_KEPT_S:
                return known.result
            result = self._find(address, user_agent)
            if len(self._answers) > MOST_ANSWERS:
                self._answers.clear()
            self._answers[address, user_agent] = _Answer(result=result, at=time.monotonic())
            return result

    def _find(self, address: Address, user_agent: str) -> Manifest | Refusal:
        try:
            return self._ask(address, user_agent)
        except UpstreamDown as error:
            return self._without_upstream(address, user_agent, str(error))
        except (UpstreamBad, BadManifest) as error:
            return Refusal(status=HTTPStatus.BAD_GATEWAY, text=f"LabDash's cache: {error}")

    def _ask(self, address: Address, user_agent: str) -> Manifest | Refusal:
        answer = self._upstream.manifest(address, user_agent=user_agent)
        if answer.status != HTTPStatus.OK:
            text = answer.body.decode(errors="replace")
            return Refusal(status=_passed_on(answer.status), text=text)
        manifest = read_manifest(answer.body)
        if short := self._lacks(manifest):
            return Refusal(status=HTTPStatus.INSUFFICIENT_STORAGE, text=f"LabDash's cache: {short}")
        try:
            self.files.keep(address, manifest, now=time.time())
        except OSError as error:
            text = f"LabDash's cache cannot write: {error.strerror}"
            return Refusal(status=HTTPStatus.INSUFFICIENT_STORAGE, text=text)
        blobs = {blob.digest: blob for blob in manifest.blobs}
        self._named[address] = self._named.get(address, {}) | blobs
        self._fetch_crumbs(address, manifest)
        return manifest

    def _fetch_crumbs(self, address: Address, manifest: Manifest) -> None:
        """Fetch the small files too that a machine has already: so the model is whole here."""
        for blob in manifest.blobs:
            if blob.size_bytes <= CRUMB_BYTES and not self.files.has(blob):
                try:
                    self.arrivals.begin(address, blob)
                except (CannotArrive, OSError) as error:
                    log.info("not fetched digest=%s: %s", blob.digest[:19], error)

    def _lacks(self, manifest: Manifest) -> str:
        """Say what a model takes more than there can be; nothing where it has room."""
        # For what is on its way, the room is taken already.
        busy = self.arrivals.busy()
        blobs = [blob for blob in manifest.blobs if blob.digest not in busy]
        missing = sum(blob.size_bytes - self.files.here_bytes(blob) for blob in blobs)
        room = self.arrivals.room_bytes()
        return f"{missing} bytes are missing and {room} can be taken" if missing > room else ""

    def _without_upstream(
        self, address: Address, user_agent: str, reason: str
    ) -> Manifest | Refusal:
        """Return what is here whole, with the registry's own check of the version."""
        manifest = self.files.find(address)
        if manifest is None or not all(map(self.files.has, manifest.blobs)):
            return Refusal(status=HTTPStatus.BAD_GATEWAY, text=f"LabDash's cache: {reason}")
        needed = needed_version(self._config(manifest))
        if needed and is_too_old(user_agent, needed):
            return Refusal(status=HTTPStatus.PRECONDITION_FAILED, text=f"{TOO_OLD}: {needed}")
        log.info("from the cache alone model=%s reason=%s", address.shown, reason)
        try:
            self.files.keep(address, manifest, now=time.time())
        except OSError as error:
            log.warning("its use is not noted: %s", error.strerror)
        return manifest

    def _config(self, manifest: Manifest) -> bytes:
        try:
            with self.files.blob_path(manifest.blobs[0].digest).open("rb") as file:
                return file.read(2**20)
        except OSError:
            return b""


@dataclass(frozen=True, kw_only=True)
class ArrivingBlob:
    """A blob that is served while it arrives."""

    files: Files
    arrival: Arrival
    given: Callable[[int], None]

    @property
    def size_bytes(self) -> int:
        """Its size when whole."""
        return self.arrival.blob.size_bytes

    @property
    def headers(self) -> dict[str, str]:
        """Nothing else."""
        return {}

    def body_bytes(self, start: int, stop: int) -> int:
        """Return how many bytes that are."""
        return stop - start

    async def send_to(self, outlet: Outlet, start: int, stop: int) -> None:
        """Send bytes as they come. Raises ``OSError`` where they will not."""
        digest = self.arrival.blob.digest
        try:
            await self._from(self.files.partial_path(digest)).send_to(outlet, start, stop)
        except FileNotFoundError:
            # It became whole in this moment, and its name another.
            await self._from(self.files.blob_path(digest)).send_to(outlet, start, stop)

    def _from(self, path: Path) -> FileBlob:
        return FileBlob(
            path=path, size_bytes=self.size_bytes, arrived=self.arrival.wait, given=self.given
        )


def _places(models: Iterable[str]) -> dict[str, Address]:
    """Return where each model is published; one whose name says nothing is left out."""
    found = {}
    for model in models:
        with suppress(BadAddress):
            found[model] = address_of(model)
    return found


def _passed_on(status: int) -> int:
    """Pass a refusal on; what is no answer to a request for a manifest is a bad one."""
    return status if HTTPStatus.BAD_REQUEST <= status < 600 else HTTPStatus.BAD_GATEWAY  # noqa: PLR2004 - the end of HTTP's errors
