"""A pull from within the lab: the address that answers, and the model's own name at the end."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from tests.workers.mirror.shelves import MANIFEST, OneModel
from workers.engines import nearby as nearby_module
from workers.engines.names import is_copy
from workers.engines.nearby import Nearby
from workers.mirror.serving import MirrorServer
from workers.mirror.shelf import Asked, Manifest, Refusal
from workers.wire import Origin
from workers.wire.origins import SEAL_HEADER, sealed

if TYPE_CHECKING:
    from workers.engines.watch import InstanceWatch

SECRET, SEAL = "5ec" + "0" * 29, "5ea" + "1" * 29
DIGEST = sha256(MANIFEST).hexdigest()
MODEL = "qwen3:0.6b"


class Names(BaseHTTPRequestHandler):
    """Copies and deletes names as Ollama does."""

    names: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        body = self._body()
        self.names[body["destination"]] = self.names[body["source"]]
        self._done()

    def do_DELETE(self) -> None:
        del self.names[self._body()["model"]]
        self._done()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> dict[str, str]:
        length = int(self.headers["Content-Length"])
        return cast("dict[str, str]", json.loads(self.rfile.read(length)))

    def _done(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Shelf(OneModel):
    """Gives its manifest to whoever asks."""

    async def manifest(self, asked: Asked, tag: str) -> Manifest | Refusal:
        return Manifest(body=MANIFEST, headers={SEAL_HEADER: sealed(SEAL, MANIFEST)})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Names) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def giver() -> Iterator[MirrorServer]:
    with MirrorServer(Shelf(), host="127.0.0.1", port=0) as server:
        yield server


def nearby(url: str, port: int, *, home: str = "process", **fields: Any) -> Nearby:
    values = {"giver": "rog", "hosts": ("127.0.0.1",), "secret": SECRET, "digest": DIGEST}
    origin = Origin.model_validate({**values, "port": port, **fields})
    watch = SimpleNamespace(
        spec=SimpleNamespace(url=url),
        engine=SimpleNamespace(digests=lambda: frozenset(Names.names.items())),
        place=SimpleNamespace(look=lambda: SimpleNamespace(home=home)),
    )
    return Nearby(origin, MODEL, cast("InstanceWatch", watch), job_id=7)


def test_the_first_address_that_has_it_is_taken(server: str, giver: MirrorServer) -> None:
    copy = nearby(server, giver.port, hosts=("127.0.0.2", "127.0.0.1"))
    assert copy.reach() is None
    assert copy.name == f"127.0.0.1:{giver.port}/{SECRET}/{MODEL}"
    assert is_copy(copy.name)


def test_who_is_not_reached_or_has_another_version_is_told(
    server: str, giver: MirrorServer
) -> None:
    reason = nearby(server, giver.port, digest="0" * 64).reach()
    assert reason
    assert (reason.cause, reason.retry) == ("unreachable", True)
    assert "127.0.0.1: it has another version of it than was expected" in reason.text
    away = nearby(server, 9).reach()
    assert away
    assert away.text.startswith("rog is not reached at port 9 (127.0.0.1: ")


def test_a_server_elsewhere_tries_what_cannot_be_tried_from_here(server: str) -> None:
    copy = nearby(server, 9, home="remote")
    assert copy.reach() is None
    assert copy.name.startswith("127.0.0.1:9/")


def test_on_the_plain_port_the_name_has_none(server: str) -> None:
    copy = nearby(server, 80, home="remote", digest=None)
    assert copy.reach() is None
    assert copy.name == f"127.0.0.1/{SECRET}/{MODEL}"


def test_the_model_gets_its_own_name_and_what_was_left_behind_goes(
    server: str, giver: MirrorServer
) -> None:
    copy = nearby(server, giver.port)
    copy.reach()
    left = f"10.0.0.9:11480/{'a' * 32}/old:1b"
    Names.names = {copy.name: DIGEST, MODEL: "older", left: "x", "phi4:14b": "y"}
    assert copy.adopt() is None
    assert Names.names == {MODEL: DIGEST, "phi4:14b": "y"}


def test_what_came_is_not_kept_where_it_is_another(server: str, giver: MirrorServer) -> None:
    copy = nearby(server, giver.port)
    copy.reach()
    Names.names = {copy.name: "other", MODEL: "older"}
    reason = copy.adopt()
    assert reason
    assert reason.cause == "damaged"
    assert Names.names == {MODEL: "older"}


def test_a_worker_that_was_killed_leaves_no_name_for_ever(server: str) -> None:
    left = {f"10.0.0.9:11480/{'a' * 32}/old:1b": "x", "labdash-replaced/pull-3:latest": "z"}
    Names.names = left | {"a/b:c": "y"}
    nearby(server, 9).clear()
    assert Names.names == {"a/b:c": "y"}


def test_what_came_whole_before_a_worker_was_killed_does_not_come_again(server: str) -> None:
    kept = {f"10.0.0.9:11480/{'a' * 32}/{MODEL}": DIGEST, f"10.0.0.9/{SECRET}/{MODEL}": "x"}
    Names.names = kept | {f"10.0.0.9:11480/{'a' * 32}/old:1b": "x"}
    nearby(server, 9).clear()
    assert Names.names == kept


def test_a_name_of_somebody_who_is_called_like_a_secret_is_no_copy() -> None:
    assert not is_copy(f"hf.co/{SECRET}/{MODEL}")
    assert is_copy(f"hub.local/{SECRET}/{MODEL}")


def test_who_sends_a_byte_now_and_then_holds_nobody_up(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby_module, "PROBE_S", 0.2)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            line, _ = listening.accept()
            with line, suppress(OSError):
                line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not done.wait(0.05):
                    line.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        reason = nearby(server, listening.getsockname()[1]).reach()
        done.set()
        thread.join()
    assert reason
    assert "no answer in 0 s" in reason.text


@pytest.mark.parametrize(
    ("seal", "came", "cause", "left"),
    [
        (SEAL, DIGEST, None, {MODEL: DIGEST}),
        (SEAL, "other", "damaged", {}),
        ("0" * 32, DIGEST, "unreachable", None),
    ],
)
def test_from_the_cache_only_what_it_sealed_is_taken(
    server: str,
    giver: MirrorServer,
    seal: str,
    came: str,
    cause: str | None,
    left: dict[str, str] | None,
) -> None:
    copy = nearby(server, giver.port, digest=None, seal=seal)
    copy.reach()
    Names.names = {copy.name: came}
    reason = copy.adopt()
    assert (reason.cause if reason else None) == cause
    assert Names.names == ({copy.name: came} if left is None else left)
