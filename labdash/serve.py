"""The web page's server: ``python -m labdash.serve DESCRIPTOR…`` serves sockets opened by others.

waitress reads requests apart from the threads that answer them: whoever sends half a request, or
reads an answer slowly, holds a connection and no thread.
"""

import logging
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from waitress.server import create_server

from labdash.env import BadSetting

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

THREADS = 8
CONNECTIONS = 1000
# A connection holds up to three files, and threads, database and store need theirs.
FILES_A_CONNECTION = 4
# What neither asks nor reads for so long is closed, half a request as well as an idle browser.
QUIET_S = 30
CLEANUP_EVERY_S = 5
# Forms here are small; whatever is larger is refused before a thread sees it.
MAX_BODY_BYTES = 256 * 2**10
MAX_HEADERS_BYTES = 64 * 2**10


def make_server(application: "WSGIApplication", sockets: list[socket.socket]) -> Any:
    """Return a server of a WSGI application, for ``run()``; SystemExit in a signal ends it.

    It believes no header about who asks: REMOTE_ADDR is the address of the peer.
    """
    return create_server(
        _headless(application),
        sockets=sockets,
        threads=THREADS,
        connection_limit=_connections(),
        # select() knows no descriptor above 1023.
        asyncore_use_poll=True,
        channel_timeout=QUIET_S,
        cleanup_interval=CLEANUP_EVERY_S,
        max_request_body_size=MAX_BODY_BYTES,
        max_request_header_size=MAX_HEADERS_BYTES,
        # Browsers break off all the time.
        log_socket_errors=False,
        ident=None,
    )


def _headless(application: "WSGIApplication") -> "WSGIApplication":
    """Answer HEAD without a body: it would be taken for the next answer of that connection."""

    def without_body(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        answer = application(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return answer
        if close := getattr(answer, "close", None):
            close()
        return []

    return without_body


def _connections() -> int:
    """Return how many connections the limit of open files allows, after raising that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS * FILES_A_CONNECTION
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return min(CONNECTIONS, wanted // FILES_A_CONNECTION)


def main() -> None:
    """Serve the page until SIGTERM; answers that were begun are given."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # More requests than threads for a moment is no news: they wait.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        from labdash.wsgi import application  # noqa: PLC0415 - make_server needs no settings
    except BadSetting as error:
        sys.stderr.write(f"labdash: {error}\n")
        sys.exit(2)
    sockets = [socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:]]
    make_server(application, sockets).run()


if __name__ == "__main__":
    main()
