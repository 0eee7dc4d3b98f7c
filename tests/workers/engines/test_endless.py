"""A server that never comes to an end: what it sends is bounded in length and in time."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.workers.engines.test_stream import drain
from workers.engines import http
from workers.engines.base import EngineDown
from workers.engines.ollama import Ollama
from workers.engines.stream import PullStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
REFUSAL = HEAD.replace(b"200 OK", b"500 Internal Server Error")
LINE = b'{"status": "pulling manifest"}\n'


@contextmanager
def endless(head: bytes, chunk: bytes, *, pause_s: float = 0.0) -> Iterator[str]:
    """Run a server that sends ``chunk`` again and again until its client leaves."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with suppress(OSError):
                self.request.sendall(head)
                while not over.wait(pause_s):
                    self.request.sendall(chunk)

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_answer_that_drips_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WHOLE_S", 0.3)
    with endless(HEAD, b" ", pause_s=0.05) as url, pytest.raises(EngineDown) as caught:
        Ollama(url).version()
    assert caught.value.state == "timeout"


def test_answer_that_does_not_end_is_an_error() -> None:
    with endless(HEAD, b" " * 2**20) as url, pytest.raises(EngineDown) as caught:
        Ollama(url).version()
    assert caught.value.state == "error"


@pytest.mark.parametrize(
    ("head", "chunk"),
    [(HEAD, b"x" * 65536), (REFUSAL, b"x" * 65536), (REFUSAL, b"x\n" * 32768)],
)
def test_pull_that_sends_a_line_without_an_end_is_cut(head: bytes, chunk: bytes) -> None:
    with endless(head, chunk) as url:
        _, end = drain(PullStream(url, "m", read_s=30))
    assert end.kind == "cut"


def test_pull_that_sends_more_lines_than_anybody_reads_is_cut() -> None:
    with endless(HEAD, LINE * 1000) as url:
        stream = PullStream(url, "m", read_s=30)
        stream.join(wait_s=20)
        assert not stream.is_open
        assert drain(stream)[1].kind == "cut"
