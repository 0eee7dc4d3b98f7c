"""The web page's server: ``python -m labdash.serve DESCRIPTOR…`` serves sockets opened by others.

What comes by a Unix socket came through the forwarder, which has taken TLS off and tells who asks.

waitress reads requests apart from the threads that answer them: whoever sends half a request, or
reads an answer slowly, holds a connection and no thread.
"""

import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import UnixWSGIServer, create_server

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
# A file's beginning is another matter: so much of it is taken, of a few at a time.
UPLOAD_PATH = "/fit/file/"
UPLOAD_BYTES = 64 * 2**20
MOST_UPLOADS = 3
UPLOAD_S = 120
# What a form has around a file.
FORM_BYTES = 64 * 2**10
DISCARDED_BYTES = 256 * 2**10
# The longest first line that the PROXY protocol knows (HAProxy's proxy-protocol.txt, 2.1).
MAX_PROXY_LINE_BYTES = 107


def make_server(application: "WSGIApplication", sockets: list[socket.socket]) -> Any:
    """Return a server of a WSGI application, for ``run()``; SystemExit in a signal ends it.

    It believes no header about who asks: REMOTE_ADDR is the address of the peer, or what the
    forwarder says; labdash.proxies judges the headers. At least one of the sockets must be no
    Unix socket.
    """
    answer = _headless(application)
    servers: dict[int, Any] = {}
    plain = [each for each in sockets if each.family != socket.AF_UNIX]
    server = create_server(answer, map=servers, sockets=plain, **_options())
    for each in servers.values():
        if hasattr(each, "channel_class"):
            each.channel_class = Channel
    for each in sockets:
        if each.family == socket.AF_UNIX:
            ForwardedServer(
                answer,
                servers,
                _sock=each,
                dispatcher=server.task_dispatcher,
                adj=Adjustments(sockets=[each], url_scheme="https", **_options()),
                sockinfo=(each.family, each.type, each.proto, each.getsockname()),
                bind_socket=False,
            )
    return server


def _options() -> dict[str, Any]:
    return {
        "threads": THREADS,
        "connection_limit": _connections(),
        # select() knows no descriptor above 1023.
        "asyncore_use_poll": True,
        "channel_timeout": QUIET_S,
        "cleanup_interval": CLEANUP_EVERY_S,
        "max_request_body_size": MAX_BODY_BYTES,
        "max_request_header_size": MAX_HEADERS_BYTES,
        # No body is written to disk.
        "inbuf_overflow": 2 * (UPLOAD_BYTES + FORM_BYTES),
        # Browsers break off all the time.
        "log_socket_errors": False,
        "ident": None,
        "clear_untrusted_proxy_headers": False,
    }


class Request(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request; of one that sends a file the beginning is taken and the rest is not read."""

    uploads: ClassVar["WeakSet[Request]"] = WeakSet()
    adj: Any
    content_length: int
    is_cut = False
    ends_at = inf

    @property
    def is_late(self) -> bool:
        """Tell whether its file takes too long to come."""
        return monotonic() > self.ends_at

    def parse_header(self, header_plus: bytes) -> None:
        """Read the headers, and set how much of the body is read."""
        super().parse_header(header_plus)
        if self.command != "POST" or self.path != UPLOAD_PATH:
            return
        if self.chunked or self.content_length < MAX_BODY_BYTES:
            return
        if len(self.uploads) >= MOST_UPLOADS:
            return
        self.uploads.add(self)
        self.ends_at = monotonic() + UPLOAD_S
        most = UPLOAD_BYTES + FORM_BYTES
        if self.content_length > most:
            self.content_length = self.body_rcv.remain = most
            self.headers["CONTENT_LENGTH"] = str(most)
            self.headers["CONNECTION"] = "close"
            self.is_cut = True
        self.adj = _Roomy(self.adj)

    def close(self) -> None:
        """Forget the body."""
        self.uploads.discard(self)
        super().close()


class _Roomy:
    """The settings of a request that sends a file."""

    max_request_body_size = UPLOAD_BYTES + FORM_BYTES + 1

    def __init__(self, settings: Adjustments) -> None:
        self.max_request_header_size = settings.max_request_header_size


class Channel(HTTPChannel):  # type: ignore[misc]  # as above
    """A connection.

    After the answer to a request that was cut, what still comes is thrown away, until the quiet
    connections are closed: most browsers read no answer before they have sent everything.
    """

    parser_class = Request
    request: Request | None
    is_cut = False
    is_leaving = False
    close_when_flushed: bool

    def received(self, data: bytes) -> Any:
        """Take in what came. A file that comes drop by drop takes nobody else's turn for long."""
        if self.request is not None and self.request.is_late:
            self.request.close()
            self.handle_close()
            return False
        return super().received(data)

    def service(self) -> None:
        """Answer one request, in a thread."""
        self.is_cut = self.requests[0].is_cut
        super().service()

    def handle_write(self) -> None:
        """Send what there is to send, and say that it was all."""
        if self.is_cut and self.close_when_flushed and not self.total_outbufs_len:
            self.close_when_flushed, self.is_leaving = False, True
            self.socket.shutdown(socket.SHUT_WR)
            return
        super().handle_write()

    def readable(self) -> bool:
        """Tell whether to look for what comes."""
        return self.is_leaving or bool(super().readable())

    def handle_read(self) -> None:
        """Take in what came; it keeps no connection open that is to end."""
        if not self.is_leaving:
            super().handle_read()
        elif not self.recv(DISCARDED_BYTES):
            self.handle_close()


class ForwardedChannel(Channel):
    """A connection from the forwarder: before its requests it says who made it, once."""

    unread: bytes | None = b""

    def received(self, data: bytes) -> Any:
        """Take in what came; waitress calls this with each piece."""
        if self.unread is None:
            return super().received(data)
        line, end, rest = (self.unread + data).partition(b"\r\n")
        if not end and len(line) <= MAX_PROXY_LINE_BYTES:
            self.unread = line
            return False
        address = _who_asks(line)
        if address is None:
            self.handle_close()
            return False
        self.unread, self.addr = None, address
        return super().received(rest)


class ForwardedServer(UnixWSGIServer):  # type: ignore[misc]  # as above
    """Takes in what the forwarder brings."""

    channel_class = ForwardedChannel


def _who_asks(line: bytes) -> tuple[str, int] | None:
    """Read a line of the PROXY protocol, version 1; ``None`` where it is none."""
    try:
        word, _, address, _, port, _ = line.decode("ascii").split(" ")
        return (str(ipaddress.ip_address(address)), int(port)) if word == "PROXY" else None
    except ValueError:
        return None


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
