"""Large bodies: only of a file's beginning, a few at a time, in memory, and no more than 64 MiB."""

import socket
import time
from collections.abc import Callable

import pytest

from labdash.serve import FORM_BYTES, MAX_BODY_BYTES, MOST_UPLOADS, UPLOAD_BYTES
from tests.labdash.test_serve import HOST, PATIENCE_S
from tests.labdash.test_serve import serve as serve  # noqa: PLC0414 - a fixture

type Serve = Callable[..., int]
# It tells how many bytes of a body it was given; a temporary file cannot be made.
COUNTING = """
import socket, sys, tempfile
from labdash import serve
tempfile.tempdir = "/none"
def application(environ, start_response):
    count = 0
    while piece := environ["wsgi.input"].read(2**20):
        count += len(piece)
    start_response("200 OK", [("Content-Length", str(len(str(count))))])
    return [str(count).encode()]
serve.make_server(application, [socket.socket(fileno=int(sys.argv[1]))]).run()
"""
MIB = bytes(2**20)


def begin(port: int, path: str, size: int) -> socket.socket:
    """Send the head of a request with a body of ``size``."""
    client = socket.create_connection((HOST, port), PATIENCE_S)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    client.sendall(head.encode())
    return client


def answer(client: socket.socket) -> tuple[str, str]:
    """Return status and text of an answer, the connection's last."""
    client.shutdown(socket.SHUT_WR)
    told = b"".join(iter(lambda: client.recv(4096), b""))
    client.close()
    head, _, text = told.decode().partition("\r\n\r\n")
    return head.split(" ")[1], text


def test_file_is_taken_in_memory(serve: Serve) -> None:
    with begin(serve("-c", COUNTING), "/fit/file/", 4 * len(MIB)) as client:
        for _ in range(4):
            client.sendall(MIB)
        assert answer(client) == ("200", str(4 * len(MIB)))


def test_of_a_longer_file_the_beginning_is_answered_before_the_rest_came(serve: Serve) -> None:
    most = UPLOAD_BYTES + FORM_BYTES
    with begin(serve("-c", COUNTING), "/fit/file/", 10 * most) as client:
        for _ in range(most // len(MIB) + 1):
            client.sendall(MIB)
        assert answer(client) == ("200", str(most))


@pytest.mark.parametrize("path", ["/sign-in/", "/fit/", "/fit/file/x"])
def test_other_pages_take_no_large_body(serve: Serve, path: str) -> None:
    with begin(serve("-c", COUNTING), path, MAX_BODY_BYTES + 1) as client:
        assert answer(client)[0] == "413"


def test_few_files_are_taken_at_a_time(serve: Serve) -> None:
    port = serve("-c", COUNTING)
    held = [begin(port, "/fit/file/", len(MIB)) for _ in range(MOST_UPLOADS)]
    for client in held:
        client.sendall(b"x")
    with begin(port, "/fit/file/", len(MIB)) as client:
        assert answer(client)[0] == "413"
    for client in held:
        client.close()


def test_file_that_comes_drop_by_drop_holds_nobody_up(serve: Serve) -> None:
    impatient = COUNTING.replace("import serve\n", "import serve\nserve.UPLOAD_S = 0.5\n")
    port = serve("-c", impatient)
    held = [begin(port, "/fit/file/", len(MIB)) for _ in range(MOST_UPLOADS)]
    for client in held:
        while is_open(client):
            time.sleep(0.05)
    with begin(port, "/fit/file/", len(MIB)) as client:
        client.sendall(MIB)
        assert answer(client) == ("200", str(len(MIB)))


def is_open(client: socket.socket) -> bool:
    """Send a drop, and tell whether somebody took it."""
    try:
        return client.send(b"x") == 1
    except OSError:
        client.close()
        return False
