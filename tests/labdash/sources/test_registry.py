"""Headers over HTTP ranges, from a server on this machine that speaks the registry's protocol."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from labdash.planner.errors import PlannerError
from labdash.sources import ranges
from labdash.sources.ranges import ClosedError, NotPublishedError, Service, UnreachableError
from labdash.sources.registry import (
    CONFIG,
    HUGGING_FACE,
    OLLAMA,
    Layer,
    Manifest,
    address_of,
    open_remote,
    read_manifest,
    read_requires,
)
from tests import gguf_files as made

DIGEST = f"sha256:{'a' * 64}"
MODEL = "application/vnd.ollama.image.model"
PROJECTOR = "application/vnd.ollama.image.projector"


class Registry(BaseHTTPRequestHandler):
    """Serves one model; the class is made anew for each test, with its own answers."""

    content = made.file()
    manifest: bytes = b""
    asked: list[str]
    sends_on_to = ""
    status = 200
    knows_ranges = True

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if "/manifests/" in self.path:
            self.answer(self.status, self.manifest)
        elif self.sends_on_to and "/blobs/" in self.path:
            self.send_response(307)
            self.send_header("Location", self.sends_on_to)
            self.end_headers()
        else:
            self.send_blob()

    waits = ""

    def send_blob(self) -> None:
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        if self.knows_ranges:
            self.answer(206, self.content[int(first) : int(last or 10**9) + 1])
        else:
            self.answer(200, self.content)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.waits:
            self.send_header("Retry-After", self.waits)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Keep the terminal quiet."""


def manifest(**changes: Any) -> bytes:
    model = {"mediaType": MODEL, "digest": DIGEST, "size": len(made.file()), **changes}
    projector = {"mediaType": PROJECTOR, "digest": DIGEST, "size": 77}
    return json.dumps({"layers": [model, projector]}).encode()


@contextmanager
def registry(**changes: Any) -> Iterator[tuple[Service, list[str]]]:
    asked: list[str] = []
    answers = {"manifest": manifest(), "asked": asked, **changes}
    handler = type("Handler", (Registry,), answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Service(f"http://127.0.0.1:{server.server_port}", ()), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_header_is_read_and_no_weights(knows_ranges: bool) -> None:
    with registry(knows_ranges=knows_ranges) as (service, asked):
        found = open_remote("qwen3:14b", ollama=service)
    assert found.model.shape.embd == 256
    assert found.file_bytes == len(made.file())
    assert found.projector_bytes == 77
    assert asked[0] == "/v2/library/qwen3/manifests/14b"
    assert asked[1].startswith(f"/v2/library/qwen3/blobs/{DIGEST} bytes=0-")
    assert len(asked) == 2


def test_redirect_within_the_service_is_followed() -> None:
    with registry(sends_on_to="/elsewhere") as (service, asked):
        assert open_remote("qwen3:14b", ollama=service).model.shape.embd == 256
    assert asked[-1].startswith("/elsewhere")


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "https://127.0.0.1/x",
        "file:///etc/passwd",
        "http://user@127.0.0.1/x",
        "http://[::1]/x",
        "http://[bad/x",
    ],
)
def test_redirect_to_another_place_is_not_followed(place: str) -> None:
    with registry(sends_on_to=place) as (service, _), pytest.raises(PlannerError, match="may not"):
        open_remote("qwen3:14b", ollama=service)


def test_endless_redirects_are_given_up() -> None:
    to = f"/v2/library/qwen3/blobs/{DIGEST}"
    with (
        registry(sends_on_to=to) as (service, asked),
        pytest.raises(PlannerError, match="given up"),
    ):
        open_remote("qwen3:14b", ollama=service)
    assert len(asked) < 10


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": 404}, "no such model"),
        ({"status": 401}, "signed-in"),
        ({"status": 429}, "too often"),
        ({"status": 400}, "does not give this tag as one file"),
        ({"status": 500}, "answers 500"),
        ({"manifest": b"{"}, "damaged"),
        ({"manifest": b'{"layers": 3}'}, "damaged"),
        ({"manifest": b"[" * 100_000}, "damaged"),
        ({"manifest": manifest().replace(b'"size": ', b'"size": 1e999, "was": ')}, "damaged"),
        ({"manifest": manifest(digest="sha256:../../x")}, "damaged"),
        ({"manifest": manifest(size=-1)}, "damaged"),
        ({"manifest": manifest(mediaType="x")}, "no GGUF"),
        ({"manifest": b" " * (2**20 + 1)}, "too long"),
        ({"content": b"\x89PNG\r\n\x1a\n" + bytes(999)}, "PNG"),
        ({"content": made.header()[:90]}, "is cut"),
    ],
)
def test_faults_of_a_registry_get_one_line(changes: dict[str, Any], text: str) -> None:
    with registry(**changes) as (service, _), pytest.raises(PlannerError, match=text):
        open_remote("qwen3:14b", ollama=service)


@pytest.mark.parametrize(
    ("changes", "kind", "wait_s"),
    [
        ({"status": 404}, NotPublishedError, None),
        ({"status": 403}, ClosedError, None),
        ({"status": 429, "waits": "90"}, UnreachableError, 90.0),
        ({"status": 503, "waits": "Wed, 21 Oct 2026 07:28:00 GMT"}, UnreachableError, 0.0),
        ({"status": 500, "waits": "9" * 30}, UnreachableError, 86_400.0),
    ],
)
def test_what_is_not_there_is_told_from_a_service_that_is_down(
    changes: dict[str, Any], kind: type[PlannerError], wait_s: float | None
) -> None:
    with registry(**changes) as (service, _), httpx.Client() as client, pytest.raises(kind) as told:
        read_manifest("qwen3:14b", client=client, ollama=service)
    assert getattr(told.value, "wait_s", None) == wait_s


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b'{"requires": "0.40.0"}', "0.40.0"),
        (b'{"requires": "0.40.0-rc1"}', "0.40.0-rc1"),
        (b'{"requires": "<b>"}', ""),
        (b'{"model_type": "8B"}', ""),
        (b"[]", ""),
        (b"GGUF", ""),
    ],
)
def test_which_ollama_a_model_needs_is_read_where_it_says_so(content: bytes, version: str) -> None:
    found = Manifest(digest="a" * 64, layers=(Layer(CONFIG, DIGEST, len(content)),))
    served = registry(content=content, knows_ranges=False)
    with served as (service, asked), httpx.Client() as client:
        assert read_requires("qwen3:14b", found, client=client, ollama=service) == version
    assert len(asked) == 1


def test_without_a_connection_it_says_what_else_can_be_done() -> None:
    with registry() as (service, _):
        closed = service
    with pytest.raises(PlannerError, match="without internet"):
        open_remote("qwen3:14b", ollama=closed)


@pytest.mark.parametrize(
    ("name", "service", "base", "tag"),
    [
        ("qwen3", OLLAMA, "https://registry.ollama.ai/v2/library/qwen3", "latest"),
        ("someone/model:8b", OLLAMA, "https://registry.ollama.ai/v2/someone/model", "8b"),
        ("hf.co/a/b:Q4_K_M", HUGGING_FACE, "https://hf.co/v2/a/b", "Q4_K_M"),
        ("https://huggingface.co/a/b", HUGGING_FACE, "https://hf.co/v2/a/b", "latest"),
    ],
)
def test_names_lead_to_addresses(name: str, service: Service, base: str, tag: str) -> None:
    place = address_of(name)
    assert (place.service, place.base, place.tag) == (service, base, tag)


@pytest.mark.parametrize(
    "name", ["", "../x", "a b", "https://evil.com/a/b", "hf.co/a", "a/../b", "x:..", "a" * 200]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(PlannerError, match=r"no name|no repository"):
        address_of(name)


@pytest.mark.parametrize(
    ("url", "admitted"),
    [
        ("https://hf.co/x", True),
        ("https://cdn-lfs.hf.co/x", True),
        ("https://huggingface.co/x", True),
        ("https://evilhf.co/x", False),
        ("https://hf.co.evil.com/x", False),
        ("http://hf.co/x", False),
        ("https://hf.co:8443/x", False),
        ("https://cdn.hf.co:22/x", False),
        ("https://a@hf.co/x", False),
        ("https://10.0.0.1/x", False),
    ],
)
def test_service_admits_its_own_hosts_alone(url: str, admitted: bool) -> None:
    assert HUGGING_FACE.admits(url) is admitted


def test_header_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "DEADLINE_S", -1)
    with registry() as (service, _), pytest.raises(PlannerError, match="too slowly"):
        open_remote("qwen3:14b", ollama=service)


def test_large_header_takes_few_requests() -> None:
    words = [f"token{index}" for index in range(300_000)]
    content = made.file({**made.TINY, "tokenizer.ggml.tokens": words})
    with registry(content=content, manifest=manifest(size=len(content))) as (service, asked):
        open_remote("qwen3:14b", ollama=service)
    blobs = [each for each in asked if "/blobs/" in each]
    assert len(content) > 5_000_000
    assert len(blobs) <= 4


def test_manifest_tells_its_own_digest_and_each_file_once() -> None:
    model = {"mediaType": MODEL, "digest": DIGEST, "size": 100}
    config = {"mediaType": "config", "digest": f"sha256:{'c' * 64}", "size": 7}
    text = json.dumps({"config": config, "layers": [model, model]}).encode()
    with registry(manifest=text) as (service, asked), httpx.Client() as client:
        found = read_manifest("qwen3:14b", client=client, ollama=service)
    assert found.digest == sha256(text).hexdigest()
    assert found.bytes == 107
    assert found.weights == Layer(MODEL, DIGEST, 100)
    assert asked == ["/v2/library/qwen3/manifests/14b"]


def test_name_that_is_not_published_is_told_from_a_dead_registry() -> None:
    with httpx.Client() as client:
        with (
            registry(status=404) as (service, _),
            pytest.raises(NotPublishedError, match="no such model or tag"),
        ):
            read_manifest("qwen3:14b", client=client, ollama=service)
        with pytest.raises(PlannerError, match="cannot be reached") as told:
            read_manifest("qwen3:14b", client=client, ollama=service)
    assert not isinstance(told.value, NotPublishedError)
