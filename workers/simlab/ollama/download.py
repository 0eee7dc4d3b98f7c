"""Downloads of blobs: one for each digest, shared by all pulls that wait for it."""

import asyncio
import operator
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from workers.simlab.machine import NoSpace
from workers.simlab.ollama.parts import Part, PartFileError, split, spread
from workers.simlab.ollama.settings import Pace, Quirks
from workers.simlab.ollama.store import Store
from workers.simlab.ollama.upstream import (
    Source,
    TransferBrokenError,
    TransferResetError,
    Upstream,
    UpstreamError,
)


class DownloadError(Exception):
    """A blob could not be had; the message ends the pull's stream."""


class Download:
    """One blob on its way. ``total`` is 0 until the registry has told the size."""

    def __init__(self, source: Source, digest: str) -> None:
        self.source = source
        self.digest = digest
        self.total = 0
        self.is_virtual = False
        self.parts: list[Part] = []
        self.waiters = 0
        self.error: str | None = None
        self.done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def completed(self) -> int:
        """Bytes that have arrived; may fall."""
        return sum(part.completed for part in self.parts)

    def progress(self) -> dict[str, Any]:
        """Give the line of the stream; numbers that are 0 are left out, as in Go."""
        numbers = {"total": self.total, "completed": self.completed}
        return {"status": f"pulling {self.digest[7:19]}", "digest": self.digest} | {
            key: number for key, number in numbers.items() if number
        }


class Downloads:
    """All downloads of a server.

    With the quirk ``shared_pull`` a second pull of a blob whose HEAD is not yet answered behaves
    as the real one: it sees lines without numbers; if it leaves before the answer the whole
    server dies (``crash`` is called); if the answer is bad it waits for ever.
    """

    def __init__(
        self,
        *,
        store: Store,
        upstream: Upstream,
        pace: Pace,
        quirks: Quirks,
        crash: Callable[[], None],
    ) -> None:
        self._store, self._upstream = store, upstream
        self._pace, self._quirks, self._crash = pace, quirks, crash
        self._running: dict[str, Download] = {}
        self.corrupt: dict[str, str] = {}
        """By the digest that was wanted, the one that came; found only when pulls verify."""
        self.keep_progress = True
        """Whether what is under way is saved when it is cut off; a killed server saves nothing."""

    async def fetch(self, source: Source, digest: str) -> AsyncIterator[dict[str, Any]]:
        """Have a blob, and give the lines meanwhile. Raises DownloadError."""
        download = self._running.get(digest)
        if download is None:
            download = self._running[digest] = Download(source, digest)
            await self._prepare(download)
        download.waiters += 1
        try:
            while not await self._tick(download):
                yield download.progress()
        finally:
            self._release(download)
        if download.error:
            raise DownloadError(download.error)

    async def stop(self) -> None:
        """Break off all downloads, as the end of the server does."""
        tasks = [each.task for each in self._running.values() if each.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    @property
    def active(self) -> list[str]:
        """Digests under way."""
        return list(self._running)

    async def _tick(self, download: Download) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(download.done.wait(), self._pace.progress_s)
        return download.done.is_set()

    def _release(self, download: Download) -> None:
        download.waiters -= 1
        if download.waiters or download.done.is_set():
            return
        if download.task:
            download.task.cancel()
        elif self._quirks.shared_pull:
            self._crash()

    async def _prepare(self, download: Download) -> None:
        self.corrupt.pop(download.digest, None)
        try:
            download.parts = self._store.partials.read(download.digest)
            if not download.parts:
                size, virtual = await self._upstream.head(download.source, download.digest)
                download.parts = split(size) if virtual else [Part(number=0, offset=0, size=size)]
                download.is_virtual = virtual
                self._store.partials.write(download.digest, download.parts if virtual else [])
            else:
                download.is_virtual = True
        except (PartFileError, UpstreamError) as error:
            self._fail_unprepared(download)
            raise DownloadError(str(error)) from error
        except asyncio.CancelledError:
            self._fail_unprepared(download)
            raise
        download.total = sum(part.size for part in download.parts)
        download.task = asyncio.get_running_loop().create_task(self._run(download))

    def _fail_unprepared(self, download: Download) -> None:
        self._running.pop(download.digest, None)
        if not self._quirks.shared_pull:
            download.error = "download failed"
            download.done.set()

    async def _run(self, download: Download) -> None:
        try:
            url = await self._direct_url(download)
            await (self._count(download, url) if download.is_virtual else self._read(download, url))
        except (UpstreamError, NoSpace, TransferBrokenError) as error:
            download.error = self._told(error, download)
        finally:
            self._running.pop(download.digest, None)
            download.done.set()

    def _told(self, error: Exception, download: Download) -> str:
        if isinstance(error, NoSpace):
            path = self._store.shown_path(download.digest)
            return f"write {path}-partial: no space left on device"
        return download.source.disguise(str(error))

    async def _direct_url(self, download: Download) -> str:
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self._pace.direct_url_s, 0.1
        while True:
            try:
                return await self._upstream.direct_url(download.source, download.digest)
            except TransferBrokenError as error:
                if clock() + pause > deadline:
                    await asyncio.sleep(max(0, deadline - clock()))
                    raise UpstreamError("context deadline exceeded") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, 10)

    async def _read(self, download: Download, url: str) -> None:
        """Fetch a real blob; it is small, so it starts anew after each fault."""
        last = ""
        for pause in self._pace.retry_s:
            try:
                data = await self._upstream.read(url, download.total)
            except (TransferBrokenError, TimeoutError) as error:
                last = str(error)
                await asyncio.sleep(pause)
                continue
            download.parts[0].completed = len(data)
            self._check(download, f"sha256:{sha256(data).hexdigest()}")
            if download.digest not in self.corrupt:
                self._store.put_blob(data)
            return
        raise TransferBrokenError(f"max retries exceeded: {last}")

    async def _count(self, download: Download, url: str) -> None:
        """Count a virtual blob in, and take its disk as it comes."""
        pauses = iter(self._pace.retry_s)
        while download.completed < download.total:
            try:
                await self._count_once(download, url)
            except TimeoutError:
                # Ollama restarts a part without data from its saved offset, however often.
                continue
            except TransferBrokenError as error:
                await asyncio.sleep(next(pauses, 0))
                if isinstance(error, TransferResetError):
                    download.parts = self._store.partials.read(download.digest)
                if not operator.length_hint(pauses):
                    raise TransferBrokenError(f"max retries exceeded: {error}") from error
        taken = self._store.partials.taken_bytes(download.digest)
        self._store.partials.drop(download.digest, give_disk=False)
        self._store.put_virtual(download.digest, download.total, taken_bytes=taken)

    async def _count_once(self, download: Download, url: str) -> None:
        lost = False
        last = download.total - 1
        grants = self._upstream.grants(url, download.completed, last, stall_s=self._pace.stall_s)
        try:
            async for size, bad in grants:
                self._store.partials.grow(download.digest, download.completed + size)
                spread(download.parts, size)
                if bad:
                    self._check(download, "sha256:" + sha256(b"corrupt").hexdigest())
        except (NoSpace, TransferResetError):
            lost = True
            raise
        finally:
            if self.keep_progress and not lost:
                self._store.partials.write(download.digest, download.parts)

    def _check(self, download: Download, seen: str) -> None:
        if seen != download.digest:
            self.corrupt[download.digest] = seen
