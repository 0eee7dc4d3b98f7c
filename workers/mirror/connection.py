"""One connection: requests in, answers out. h11 keeps the rules of HTTP, the system copies."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import BinaryIO

import h11

from workers.mirror.paths import BadRange, Target, parse_range, parse_target
from workers.mirror.shelf import MANIFEST_TYPE, Blob, Manifest, Refusal, Shelf

# Nothing was asked for so long, or the other side takes nothing: it is gone.
IDLE_S = 30.0
SEND_S = 60.0
# So slow may one of many connections over a poor radio link be.
LEAST_BYTES_PER_S = 16 * 2**10
HEAD_BYTES = 16 * 2**10
_READ_BYTES = 64 * 2**10

Headers = dict[str, str]


class _Span:
    """Stands for bytes that the system copies from a file."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class Connection:
    """Serves one client until it leaves, is silent for long, or breaks the rules."""

    def __init__(
        self, shelf: Shelf, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._shelf = shelf
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._is_head = False

    async def serve(self) -> None:
        """Answer request by request. Raises ``OSError`` or ``TimeoutError`` where it breaks."""
        while (request := await self._next_request()) is not None:
            await self._answer(request)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def refuse(self, status: int) -> None:
        """Answer at once, whatever is asked, and be done."""
        head = h11.Response(
            status_code=status, headers=_headers({"Content-Length": "0"}, is_last=True)
        )
        async with asyncio.timeout(SEND_S):
            await self._write(self._http.send(head))
            await self._write(self._http.send(h11.EndOfMessage()))

    # --- a request ---------------------------------------------------------------------------

    async def _next_request(self) -> h11.Request | None:
        """Return a request, its body (which none of ours has) left alone; ``None`` at the end."""
        try:
            event = await self._next_event()
            while not isinstance(event, h11.Request | h11.ConnectionClosed):
                event = await self._next_event()
            if isinstance(event, h11.Request) and not self._has_body(event):
                await self._next_event()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self.refuse(error.error_status_hint)
            return None
        return event if isinstance(event, h11.Request) else None

    async def _next_event(self) -> object:
        async with asyncio.timeout(IDLE_S):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ_BYTES))
        if event is h11.PAUSED:
            raise h11.RemoteProtocolError("it asks before it was answered")
        return event

    @staticmethod
    def _has_body(request: h11.Request) -> bool:
        return bool(
            {name for name, _ in request.headers} & {b"content-length", b"transfer-encoding"}
        )

    async def _answer(self, request: h11.Request) -> None:
        given = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self._is_head = request.method == b"HEAD"
        if request.method not in {b"GET", b"HEAD"}:
            await self._say(HTTPStatus.METHOD_NOT_ALLOWED, b"", {"Allow": "GET, HEAD"})
            return
        path = request.target.decode("latin-1")
        target = parse_target(path, agent=given.get("user-agent", ""))
        if target is None:
            await self._say(HTTPStatus.NOT_FOUND, b"not found", {})
        elif target.tag:
            await self._say_manifest(target)
        else:
            await self._give_blob(target, given.get("range"))

    # --- an answer ---------------------------------------------------------------------------

    async def _say_manifest(self, target: Target) -> None:
        found = await self._shelf.manifest(target.asked, target.tag)
        if isinstance(found, Refusal):
            await self._say(found.status, found.text.encode(), {})
        else:
            await self._say(HTTPStatus.OK, found.body, _of_manifest(found))

    async def _give_blob(self, target: Target, wished: str | None) -> None:
        blob = await self._shelf.blob(target.asked, target.digest)
        if isinstance(blob, Refusal):
            await self._say(blob.status, blob.text.encode(), {})
            return
        try:
            part = _part(blob, wished, is_head=self._is_head)
        except BadRange:
            headers = {"Content-Range": f"bytes */{blob.size_bytes}"}
            await self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers)
            return
        # Ollama looks for the address of the bytes, and takes a 200 only with this header.
        headers = {"Location": target.asked.path, "Docker-Content-Digest": target.digest}
        await self._head(part.status, {**part.headers, **headers, **blob.headers})
        if not self._is_head:
            await blob.send_to(self, part.start, part.stop)
        await self._end()

    async def _say(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self._head(status, {"Content-Length": str(len(body))} | dict(headers))
        if body and not self._is_head:
            await self.send(body)
        await self._end()

    async def _head(self, status: int, headers: Mapping[str, str]) -> None:
        # A body that nobody reads: the next request could not be told from it.
        is_last = self._http.their_state is not h11.DONE
        head = h11.Response(status_code=status, headers=_headers(headers, is_last=is_last))
        await self._write(self._http.send(head))

    async def _end(self) -> None:
        await self._write(self._http.send(h11.EndOfMessage()))

    async def send(self, data: bytes) -> None:
        """Send bytes of a body."""
        await self._write(self._http.send(h11.Data(data=data)))

    async def send_file(self, file: BinaryIO, start: int, count: int) -> None:
        """Send bytes of a file as the next ones of a body. Raises ``OSError`` where they lack."""
        self._http.send_with_data_passthrough(h11.Data(data=_Span(count)))  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SEND_S + count / LEAST_BYTES_PER_S):
            sent = await loop.sendfile(self._writer.transport, file, start, count)
        if sent != count:
            raise OSError("the file is shorter than it was")

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(SEND_S):
                await self._writer.drain()


@dataclass(frozen=True, kw_only=True)
class _Part:
    status: int
    start: int
    stop: int
    headers: Headers


def _part(blob: Blob, wished: str | None, *, is_head: bool) -> _Part:
    """Return which bytes are given, and how that is said. Raises ``BadRange``."""
    start, stop, status = 0, blob.size_bytes, HTTPStatus.OK
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if wished is not None:
        status = HTTPStatus.PARTIAL_CONTENT
        start, stop = parse_range(wished, blob.size_bytes)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size_bytes}"
    length = stop - start if is_head else blob.body_bytes(start, stop)
    if length is not None:
        headers["Content-Length"] = str(length)
    return _Part(status=status, start=start, stop=stop, headers=headers)


def _of_manifest(found: Manifest) -> Headers:
    digest = sha256(found.body).hexdigest()
    return {
        "Content-Type": MANIFEST_TYPE,
        "Docker-Content-Digest": f"sha256:{digest}",
        "ollama-content-digest": digest,
        **found.headers,
    }


def _headers(headers: Mapping[str, str], *, is_last: bool) -> list[tuple[str, str]]:
    return [*headers.items(), *([("Connection", "close")] if is_last else [])]
