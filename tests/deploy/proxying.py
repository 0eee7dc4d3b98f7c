"""A reverse proxy as the docs describe it, and a browser's essentials to speak through it."""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from labdash.certificate import own_certificate
from tests.deploy.running import Visitor

# Where the proxy comes from, and the name that it gives to the pages.
PROXY, NAME = "127.0.0.2", "lab.lan"


class Handler(BaseHTTPRequestHandler):
    """Hands a request on, and the answer back."""

    def handle_request(self) -> None:
        """Do as the lines for nginx in deploy/docs/reverse-proxy.md."""
        server: Any = self.server
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-For": self.client_address[0]}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pages = http.client.HTTPConnection("127.0.0.1", server.behind, 60, (PROXY, 0))
        with closing(pages):
            pages.request(self.command, self.path, body or None, headers)
            answer = pages.getresponse()
            told = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name not in {"Connection", "Transfer-Encoding"}:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = handle_request  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxy(behind: int, folder: Path) -> Iterator["ProxyVisitor"]:
    """Stand before the pages at a port; yield somebody who speaks through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate(folder).path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.behind = behind  # type: ignore[attr-defined]  # read by its handlers
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield ProxyVisitor(int(server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()


class ProxyVisitor(Visitor):
    """Somebody who knows the pages by the proxy's name."""

    def connect(self) -> http.client.HTTPConnection:
        """Connect by HTTPS; who answers is not this test's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def headers(self) -> dict[str, str]:
        """Return what a browser says there."""
        place = f"{NAME}:{self.port}"
        return {**super().headers(), "Host": place, "Origin": f"https://{place}"}
