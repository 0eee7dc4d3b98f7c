"""Serving one fake server on a port: start, stop, crash, start again."""

import asyncio

from aiohttp import web

from workers.simlab.ollama.app import ollama_app
from workers.simlab.ollama.server import OllamaServer

# For requests under way; aiohttp takes 0 for "wait for ever".
_SHUTDOWN_S = 0.01
# What systemd waits before it starts a server that crashed.
RESTART_S = 3.0


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
        self._revival: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        server.on_crash = self._crash

    @property
    def url(self) -> str:
        """The root of the server, known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the port is open."""
        return self._runner is not None

    async def start(self) -> str:
        """Listen, and give the address."""
        if self._runner is None:
            self.server.start()
            app = ollama_app(self.server)
            self._runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S
            )
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await site.start()
            self.port = self._runner.addresses[0][1]
        return self.url

    async def stop(self, *, kill: bool = False, spoil: bool = False) -> None:
        """Close the port and cut every connection; see ``OllamaServer.stop``."""
        if self._revival and self._revival is not asyncio.current_task():
            self._revival.cancel()
            await asyncio.wait([self._revival])
        runner, self._runner = self._runner, None
        if runner is None:
            return
        if runner.server:
            for handler in runner.server.connections:
                if handler.transport:
                    handler.transport.abort()
        await self.server.stop(kill=kill, spoil=spoil)
        await runner.cleanup()

    def _crash(self) -> None:
        self.crashes += 1
        self._revival = asyncio.get_running_loop().create_task(self._fall())

    async def _fall(self) -> None:
        await self.stop(kill=True)
        if self.restart_s is not None:
            await asyncio.sleep(self.restart_s)
            await self.start()
