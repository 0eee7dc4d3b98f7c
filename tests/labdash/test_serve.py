"""The web page's server, as a process of its own."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from labdash.env import ROOT

HOST = "127.0.0.1"
PATIENCE_S = 60
# An application that tells who asked, on a server that is less patient.
TELLING = """
import socket, sys
from labdash import serve
def application(environ, start_response):
    told = environ["REMOTE_ADDR"].encode()
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]
serve.QUIET_S = serve.CLEANUP_EVERY_S = 1
serve.make_server(application, [socket.socket(fileno=int(sys.argv[1]))]).run()
"""
HALF_REQUESTS = (
    b"",
    b"GET /hea",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\na=",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
)

type Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers and return their ports; each ends in time, and well."""
    with ExitStack() as running:

        def start(*python: str, before: str = ":") -> int:
            return running.enter_context(_serving([*python], before))

        yield start


@contextmanager
def _serving(python: list[str], before: str) -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        descriptor = listener.fileno()
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [
                "/bin/sh",
                "-c",
                f'{before}; exec "$@"',
                "sh",
                sys.executable,
                *python,
                str(descriptor),
            ],
            cwd=ROOT,
            env=dict(os.environ),
            pass_fds=[descriptor],
        )
        yield int(listener.getsockname()[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in {0, -signal.SIGTERM}


def ask(port: int, path: str = "/healthz", **headers: str) -> tuple[int, str]:
    """Return status and text of an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): headers[name] for name in headers}
    )
    answer = connection.getresponse()
    told = answer.status, answer.read().decode()
    connection.close()
    return told


def half_open(port: int, opened: ExitStack, count: int) -> list[socket.socket]:
    """Open connections that send half a request each."""
    found = []
    for number in range(count):
        client = opened.enter_context(socket.create_connection((HOST, port), PATIENCE_S))
        client.sendall(HALF_REQUESTS[number % len(HALF_REQUESTS)])
        found.append(client)
    return found


def test_half_requests_keep_nobody_else_waiting(serve: Serve) -> None:
    port = serve("-m", "labdash.serve")
    assert ask(port) == (200, "ok")
    with ExitStack() as opened:
        half_open(port, opened, 50)
        assert ask(port) == (200, "ok")


def test_half_requests_and_idle_connections_are_closed(serve: Serve) -> None:
    port = serve("-c", TELLING)
    with ExitStack() as opened:
        for client in half_open(port, opened, len(HALF_REQUESTS)):
            assert client.recv(1) == b""


def test_an_answer_that_nobody_reads_keeps_no_thread(serve: Serve) -> None:
    port = serve("-m", "labdash.serve")
    with ExitStack() as opened:
        for _ in range(50):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect((HOST, port))
            client.sendall(b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert ask(port) == (200, "ok")


def test_more_connections_than_files_leave_the_server_alive(serve: Serve) -> None:
    port = serve("-m", "labdash.serve", before="ulimit -n 128")
    with ExitStack() as opened:
        half_open(port, opened, 100)
    assert ask(port) == (200, "ok")


def test_no_header_changes_who_asked(serve: Serve) -> None:
    port = serve("-c", TELLING)
    forged = {
        "X_Forwarded_For": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X_Real_IP": "203.0.113.9",
        "Remote_Addr": "203.0.113.9",
    }
    assert ask(port, **forged) == (200, HOST)


def test_a_head_request_leaves_the_connection_in_step(serve: Serve) -> None:
    port = serve("-m", "labdash.serve")
    with socket.create_connection((HOST, port), PATIENCE_S) as client:
        asked = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.sendall(
            asked
            + asked.replace(b"HEAD", b"GET").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        told = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert re.findall(r"HTTP/1.1 200 OK|\r\n\r\n[^\r]*", told) == [
        "HTTP/1.1 200 OK",
        "\r\n\r\nHTTP/1.1 200 OK",
        "\r\n\r\nok",
    ]


def test_a_body_larger_than_any_form_is_refused(serve: Serve) -> None:
    port = serve("-m", "labdash.serve")
    with socket.create_connection((HOST, port), PATIENCE_S) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 413"


FORWARDED = """
import socket, sys
from labdash import serve
def application(environ, start_response):
    told = f'{environ["REMOTE_ADDR"]} {environ["wsgi.url_scheme"]}'.encode()
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]
serve.make_server(application, [socket.socket(fileno=int(each)) for each in sys.argv[1:]]).run()
"""
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
)


@pytest.fixture
def forwarded(tmp_path: Path) -> Iterator[Path]:
    """A server of a TCP socket and of a Unix socket; the path of the latter."""
    path = tmp_path / "web.sock"
    with socket.create_server((HOST, 0)) as plain, socket.socket(socket.AF_UNIX) as inner:
        inner.bind(str(path))
        inner.listen()
        descriptors = [plain.fileno(), inner.fileno()]
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", FORWARDED, *map(str, descriptors)],
            cwd=ROOT,
            pass_fds=descriptors,
        )
        yield path
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in {0, -signal.SIGTERM}


def through(path: Path, *pieces: bytes) -> bytes:
    """Send pieces one by one as the forwarder; return the body of the answer, or nothing."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(path))
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.05)
        told = b"".join(iter(lambda: client.recv(65536), b""))
    return told.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"PROXY TCP4 192.168.1.7 192.168.1.2 50000 8643\r\n", b"192.168.1.7 https"),
        (b"PROXY TCP6 fd00::7 fd00::2 50000 8643\r\n", b"fd00::7 https"),
    ],
)
def test_the_forwarder_is_believed_about_who_asks(
    forwarded: Path, line: bytes, told: bytes
) -> None:
    assert through(forwarded, line + REQUEST) == told
    assert through(forwarded, line[:9], line[9:], REQUEST[:5], REQUEST[5:]) == told


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP4 nobody 192.168.1.2 1 2\r\n",
        b"X" * 200,
        b"PROXY TCP4 192.168.1.7 192.168.1.2 \xff 2\r\n",
    ],
)
def test_what_does_not_say_who_asks_is_closed(forwarded: Path, line: bytes) -> None:
    assert through(forwarded, line + REQUEST) == b""
