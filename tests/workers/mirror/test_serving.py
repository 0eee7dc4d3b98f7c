"""The server over real connections, one for the module; each test brings its own blob."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.workers.mirror.shelves import MANIFEST, MODEL, SECRET, TAG, OneModel, write_blob
from workers.mirror import connection
from workers.mirror.limiting import TokenBucket
from workers.mirror.serving import MirrorServer
from workers.mirror.shelf import FileBlob

DATA = os.urandom(300_000)


class Served:
    """The server, its shelf, and a client that keeps its connection."""

    def __init__(self, server: MirrorServer, shelf: OneModel, folder: Path) -> None:
        self.server = server
        self.shelf = shelf
        self.folder = folder
        base = f"http://127.0.0.1:{server.port}/v2/{SECRET}/{MODEL}"
        self.client = httpx.Client(base_url=base, trust_env=False, timeout=5)

    def put(self, data: bytes = DATA, limiter: TokenBucket | None = None) -> str:
        digest, path = write_blob(self.folder, data)
        self.shelf.blobs[digest] = FileBlob(path=path, size_bytes=len(data), limiter=limiter)
        return f"/blobs/{digest}"

    def talk(self, request: bytes) -> bytes:
        """Send bytes as they are and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as line:
            line.sendall(request)
            return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    shelf = OneModel()
    with MirrorServer(shelf, host="127.0.0.1", port=0, most_connections=8) as server:
        served = Served(server, shelf, tmp_path_factory.mktemp("blobs"))
        yield served
        served.client.close()


def test_a_manifest_comes_with_its_type_and_digest(served: Served) -> None:
    answer = served.client.get(f"/manifests/{TAG}")
    assert answer.content == MANIFEST
    assert answer.headers["Content-Type"].startswith("application/vnd.docker.distribution.manifest")
    assert answer.headers["ollama-content-digest"] == sha256(MANIFEST).hexdigest()
    head = served.client.head(f"/manifests/{TAG}")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(MANIFEST)))


def test_the_four_requests_of_a_pull(served: Served) -> None:
    """HEAD for the size, GET for the address, then parts from there, on one connection."""
    path = served.put()
    head = served.client.head(path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(DATA)))
    whole = served.client.get(path)
    assert (whole.status_code, whole.content) == (200, DATA)
    place = whole.headers["Location"]
    assert place == f"/v2/{SECRET}/{MODEL}{path}"
    part = served.client.get(
        f"http://127.0.0.1:{served.server.port}{place}", headers={"Range": "bytes=1000-200999"}
    )
    assert (part.status_code, part.content) == (206, DATA[1000:201000])
    assert part.headers["Content-Range"] == f"bytes 1000-200999/{len(DATA)}"


def test_a_range_beyond_the_end_is_said_to_be_one(served: Served) -> None:
    answer = served.client.get(served.put(), headers={"Range": "bytes=300000-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */300000"


def test_who_leaves_without_reading_harms_nobody(served: Served) -> None:
    path = served.put(os.urandom(30_000_000))
    with served.client.stream("GET", path) as answer:
        assert answer.status_code == 200
    assert served.client.head(path).status_code == 200


@pytest.mark.parametrize("namespace", ["library", SECRET[:-1], SECRET + "0", SECRET.upper()])
def test_without_the_secret_nothing_is_known(served: Served, namespace: str) -> None:
    path = served.put()
    base = f"http://127.0.0.1:{served.server.port}/v2/{namespace}/{MODEL}"
    for wished in (f"/manifests/{TAG}", path):
        answer = served.client.get(base + wished)
        assert (answer.status_code, answer.text) == (404, "not found")


def test_only_reading_is_allowed(served: Served) -> None:
    answer = served.client.put(f"/manifests/{TAG}", content=b"{}")
    assert answer.status_code == 405
    assert served.client.get(f"/manifests/{TAG}").status_code == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /v2/a/b/manifests/c HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, b"431"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"404"),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_ends_the_connection(
    served: Served, request_bytes: bytes, status: bytes
) -> None:
    assert served.talk(request_bytes).startswith(b"HTTP/1.1 " + status)


def test_a_silent_client_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.2)
    begun = time.monotonic()
    assert served.talk(b"GET /v2/") == b""
    assert time.monotonic() - begun < 3


def test_too_many_at_once_are_sent_away(served: Served) -> None:
    served.client.close()
    served.client = httpx.Client(base_url=served.client.base_url, trust_env=False, timeout=5)
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    other = httpx.Client(base_url=served.client.base_url, transport=elsewhere, timeout=5)
    lines = [_greeted("127.0.0.1", served.server.port) for _ in range(6)]
    try:
        # One address leaves room for others, until these have all that there is.
        assert served.client.get(f"/manifests/{TAG}").status_code == 503
        assert other.get(f"/manifests/{TAG}").status_code == 200
        lines.append(_greeted("127.0.0.1", served.server.port, "127.0.0.3"))
        last = httpx.HTTPTransport(local_address="127.0.0.4")
        with httpx.Client(base_url=served.client.base_url, transport=last) as late:
            assert late.get(f"/manifests/{TAG}").status_code == 503
    finally:
        other.close()
        for line in lines:
            line.close()


def test_a_file_that_is_shorter_than_it_was_breaks_off(served: Served) -> None:
    """The client sees an answer that lacks its end, never one that is padded."""
    path = served.put(os.urandom(100_000))
    digest = path.rpartition("/")[2]
    os.truncate(served.folder / digest.replace(":", "-"), 50_000)
    with pytest.raises(httpx.RemoteProtocolError):
        served.client.get(path)


def test_a_limit_is_kept(served: Served) -> None:
    path = served.put(os.urandom(400_000), TokenBucket(1e6))
    begun = time.monotonic()
    served.client.get(path)
    assert 0.15 < time.monotonic() - begun < 2


def test_a_file_that_grows_is_given_as_it_arrives(served: Served) -> None:
    digest, path = write_blob(served.folder, DATA[:290_000])

    async def arrived(at: int) -> int:
        if at < 290_000:
            return 290_000
        await asyncio.sleep(0.05)
        path.write_bytes(DATA)
        return len(DATA)

    served.shelf.blobs[digest] = FileBlob(path=path, size_bytes=len(DATA), arrived=arrived)
    assert served.client.get(f"/blobs/{digest}").content == DATA


def test_its_port_is_free_again_when_it_stops(tmp_path: Path) -> None:
    server = MirrorServer(OneModel(), host="127.0.0.1", port=0)
    server.start()
    line = _greeted("127.0.0.1", server.port)
    server.stop()
    assert not server.is_open
    assert line.recv(10) == b""
    line.close()
    with MirrorServer(OneModel(), host="127.0.0.1", port=server.port) as again:
        assert again.is_open


def test_a_port_that_is_taken_is_told() -> None:
    with MirrorServer(OneModel(), host="127.0.0.1", port=0) as server:
        second = MirrorServer(OneModel(), host="127.0.0.1", port=server.port)
        with pytest.raises(OSError, match="in use"):
            second.start()


def test_every_address_of_the_machine_is_served() -> None:
    with MirrorServer(OneModel(), host=None, port=0) as server:
        for host in ("127.0.0.1", "::1") if socket.has_ipv6 else ("127.0.0.1",):
            try:
                _greeted(host, server.port).close()
            except OSError as error:
                if host == "::1" and error.errno:
                    pytest.skip("no IPv6 here")
                raise


def _greeted(host: str, port: int, source: str = "") -> socket.socket:
    """Connect, and be sure that the server has taken it."""
    whence = (source, 0) if source else None
    line = socket.create_connection((host, port), timeout=5, source_address=whence)
    line.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while not answer.endswith(b"not found"):
        got = line.recv(1000)
        assert got, answer
        answer += got
    return line
