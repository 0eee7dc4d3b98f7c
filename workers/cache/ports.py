"""The ports of the cache, and why one of them is not open."""

import errno
import logging
import time

from workers.mirror.serving import MirrorServer
from workers.mirror.shelf import Shelf
from workers.wire.caching import PLAIN_PORT

MOST_CONNECTIONS = 512
# Whoever has the port may leave it.
TRY_AGAIN_S = 10.0

log = logging.getLogger(__name__)


class Ports:
    """Opens ``port``, and that of plain HTTP while a Windows machine needs it.

    ``errors`` say by port why it is not open.
    """

    def __init__(self, shelf: Shelf, *, host: str | None, port: int) -> None:
        self._shelf, self._host, self._port = shelf, host, port
        self._open: dict[int, MirrorServer] = {}
        self._tried_at: dict[int, float] = {}
        self.errors: dict[int, str] = {}

    def follow(self, *, plain: bool) -> None:
        """Open what is wanted and close the rest."""
        wanted = [self._port, *([PLAIN_PORT] if plain else [])]
        for port in set(self._open) - set(wanted):
            self._open.pop(port).stop()
        self.errors = {port: why for port, why in self.errors.items() if port in wanted}
        for port in wanted:
            if port not in self._open or not self._open[port].is_open:
                self._try(port)

    @property
    def open(self) -> tuple[int, ...]:
        """Return the ports that are open, the cache's own first."""
        return tuple(server.port for server in self._open.values() if server.is_open)

    def close(self) -> None:
        """Close all."""
        for server in self._open.values():
            server.stop()
        self._open.clear()

    def _try(self, port: int) -> None:
        now = time.monotonic()
        if now - self._tried_at.get(port, -TRY_AGAIN_S) < TRY_AGAIN_S:
            return
        self._tried_at[port] = now
        server = MirrorServer(
            self._shelf, host=self._host, port=port, most_connections=MOST_CONNECTIONS
        )
        try:
            server.start()
        except OSError as error:
            if self.errors.get(port) != (reason := _why(error)):
                log.warning("port=%d not open: %s", port, reason)
            self.errors[port] = reason
        else:
            self._open[port] = server
            self.errors.pop(port, None)
            log.info("serving port=%d", server.port)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has it"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "this user may not open it"
    return error.strerror or "it cannot be opened"
