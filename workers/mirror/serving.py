"""A small HTTP server in a thread of its own, which gives what a ``Shelf`` holds.

It keeps to what a registry's clients need: GET and HEAD, with Range. What it sends goes from the
disk to the network without passing through this process where the system can do that.
"""

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Self

from workers.mirror.connection import Connection
from workers.mirror.shelf import Shelf

# An Ollama server opens up to 16 for a blob; beyond these, who comes is sent away. One address
# gets three quarters of them: who only holds connections open leaves room for others.
MOST_CONNECTIONS = 128
_STOP_S = 5.0
_AGAIN_S = 0.1
_SETTLE_S = 0.02
_BACKLOG = 64

log = logging.getLogger(__name__)


class MirrorServer:
    """Serves a shelf from ``start`` to ``stop``, both from any thread."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        host: str | None,
        port: int,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self._shelf = shelf
        self._host = host
        self.port = port
        self._most = most_connections
        self._from: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen (``port`` then tells where). Raises ``OSError`` where that cannot be."""
        sockets = _listen(self._host, self.port)
        self.port = sockets[0].getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(sockets, ready)), name="mirror", daemon=True
        )
        self._thread.start()
        ready.wait(_STOP_S)

    def stop(self) -> None:
        """Close the port, and every connection in the middle of what it is at."""
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(_STOP_S)

    async def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        listening = [asyncio.create_task(self._accept(each)) for each in sockets]
        ready.set()
        await self._stopping.wait()
        await _end(listening)
        for each in sockets:
            each.close()
        # What just came is half set up, and could not be ended without a trace.
        await asyncio.sleep(_SETTLE_S)
        await _end(self._tasks)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                line, (host, *_) = await loop.sock_accept(listening)
            except OSError as error:
                # It was gone at once, or this process has too many files open for a while.
                log.debug("a connection was not taken: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            self._from[host] += 1
            task = asyncio.create_task(self._meet(line, host))
            self._tasks.add(task)
            task.add_done_callback(partial(self._part, line, host))

    def _part(self, line: socket.socket, host: str, task: asyncio.Task[None]) -> None:
        # One that was cancelled before it began has closed nothing.
        line.close()
        self._tasks.discard(task)
        self._from[host] -= 1
        if not self._from[host]:
            del self._from[host]

    async def _meet(self, line: socket.socket, host: str) -> None:
        is_full = len(self._tasks) > self._most or self._from[host] > self._most * 3 // 4
        reader, writer = await _streams(line)
        try:
            await self._serve(Connection(self._shelf, reader, writer), is_full=is_full)
        finally:
            # What was not sent by now is not waited for.
            unsent = writer.transport.get_write_buffer_size()
            writer.transport.abort() if unsent else writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, connection: Connection, *, is_full: bool) -> None:
        try:
            if is_full:
                await connection.refuse(503)
            else:
                await connection.serve()
        except (OSError, TimeoutError):
            # A client that leaves in the middle is nothing special: pulls are cancelled that way.
            log.debug("a connection broke off")
        except Exception:  # one request that is ours to blame must not end the others
            log.exception("a request failed")


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _streams(line: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, line)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _listen(host: str | None, port: int) -> list[socket.socket]:
    """Bind to a host, or to every address of this machine, IPv6 too where there is such."""
    if host is not None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [_bind(family, host, port)]
    first = _bind(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - neighbours come by the network
    sockets = [first]
    if socket.has_ipv6:
        with suppress(OSError):
            sockets.append(_bind(socket.AF_INET6, "::", first.getsockname()[1]))
    return sockets


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: another could share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the socket's own signature
    except OSError:
        listening.close()
        raise
    return listening
