"""Serving one fake server on a port: start, stop, crash, start again."""

import asyncio
import socket

from aiohttp import web

from workers.simlab.ollama.app import ollama_app
from workers.simlab.ollama.server import OllamaServer

# For requests under way; aiohttp takes 0 for "wait for ever".
_SHUTDOWN_S = 0.01
# What systemd waits before it starts a server that crashed.
RESTART_S = 3.0
_BACKLOG = 128
# Of the event loop: to take a connection in, to hand it over, and one to spare.
_TURNS = 3


class Door:
    """An application behind a port of the loopback address.

    ``cancels``: a request whose client has left is cancelled, as in a Go server.
    """

    def __init__(self, app: web.Application, *, cancels: bool = True) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=cancels, shutdown_timeout=_SHUTDOWN_S
        )
        self._listener: socket.socket | None = None

    async def open(self, port: int) -> int:
        """Listen on a port, any for 0, and return it."""
        await self._runner.setup()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        await web.SockSite(self._runner, self._listener, backlog=_BACKLOG).start()
        return int(self._listener.getsockname()[1])

    async def cut(self) -> None:
        """Take nobody in any more, and end every connection.

        asyncio loses the connections that it is taking in while a server is closed.
        """
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for handler in self._runner.server.connections if self._runner.server else ():
            if handler.transport:
                handler.transport.abort()

    async def close(self) -> None:
        """Close the port."""
        await self.cut()
        await self._runner.cleanup()
        if self._listener is not None:
            self._listener.close()


class Hosted:
    """One server behind one port of the loopback address, the same one at each start.

    A server that crashes is back after ``restart_s`` seconds (``None``: never).
    """

    def __init__(
        self, server: OllamaServer, *, port: int = 0, restart_s: float | None = RESTART_S
    ) -> None:
        self.server = server
        self.port = port
        self.crashes = 0
        self.restart_s = restart_s
        self._death: asyncio.Task[None] | None = None
        self._revival: asyncio.Task[None] | None = None
        self._door: Door | None = None
        server.on_crash = self._crash

    @property
    def url(self) -> str:
        """The root of the server, known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the port is open."""
        return self._door is not None

    async def start(self) -> str:
        """Listen, and give the address."""
        if self._door is None:
            self.server.start()
            self._door = Door(ollama_app(self.server))
            self.port = await self._door.open(self.port)
        return self.url

    async def stop(
        self, *, kill: bool = False, spoil: bool = False, leave_runners: bool = False
    ) -> None:
        """Close the port and cut every connection; see ``OllamaServer.stop``."""
        if self._death and self._revival:
            # Cut off in the middle, a death would leave its port open.
            self._revival.cancel()
            await asyncio.wait([self._death, self._revival])
        await self._end(kill=kill, spoil=spoil, leave_runners=leave_runners)

    async def _end(self, *, kill: bool, spoil: bool = False, leave_runners: bool = False) -> None:
        door, self._door = self._door, None
        if door is None:
            return
        await door.cut()
        await self.server.stop(kill=kill, spoil=spoil, leave_runners=leave_runners)
        await door.close()

    def _crash(self) -> None:
        self.crashes += 1
        loop = asyncio.get_running_loop()
        self._death = loop.create_task(self._end(kill=True))
        self._revival = loop.create_task(self._revive(self._death))

    async def _revive(self, death: asyncio.Task[None]) -> None:
        await asyncio.wait([death])
        if self.restart_s is not None:
            await asyncio.sleep(self.restart_s)
            await self.start()
