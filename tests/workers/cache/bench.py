"""A cache between a client and a registry, all in this process."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from workers.cache.addresses import Service, address_of
from workers.cache.arrivals import Arrivals
from workers.cache.cache import Cache
from workers.cache.counting import Count
from workers.cache.files import Files
from workers.cache.upstream import Upstream
from workers.mirror.serving import MirrorServer
from workers.wire.caching import CacheAhead, CacheGrant, CacheSpec

SECRET = "5" * 32
MODEL = "qwen3:8b"
# Made once: reading the certificates that a client trusts takes longer than most tests.
SERVICES: dict[str, Service] = {}
UPSTREAM = Upstream(SERVICES)
CLIENT = httpx.Client(timeout=20)
AGENT = {"User-Agent": "ollama/0.32.15 (amd64 linux) Go/go1.26.0"}


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


@dataclass
class Registry:
    """What is published, what was asked for, and what goes wrong."""

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    given_bytes: int = 0
    # By what a path ends with: a status, or a place to send on to.
    faults: dict[str, int | str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    gate_at: int | None = None
    url: str = ""

    def publish(self, name: str, *layers: bytes, config: bytes = b"{}") -> bytes:
        self.blobs |= {digest_of(data): data for data in (config, *layers)}
        entries = [{"digest": digest_of(data), "size": len(data)} for data in (config, *layers)]
        body = json.dumps({"config": entries[0], "layers": entries[1:]}).encode()
        address = address_of(name)
        self.manifests[f"{address.repository}/manifests/{address.tag}"] = body
        return body

    def times(self, word: str) -> int:
        return sum(word in line for line in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        # A cache that wants no more leaves in the middle.
        with suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        registry = self.registry
        span = self.headers.get("Range", "")
        registry.asked.append(f"{self.path} {span} {self.headers['User-Agent']}")
        fault = next((f for end, f in registry.faults.items() if self.path.endswith(end)), None)
        if isinstance(fault, str):
            self._say(307, b"", {"Location": fault})
        elif fault:
            self._say(fault, b"the registry's own words")
        elif "/manifests/" in self.path:
            body = registry.manifests.get(self.path.removeprefix("/v2/"))
            self._say(200 if body else 404, body or b"manifest unknown")
        else:
            self._give(registry.blobs[self.path.rpartition("/")[2]], span)

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _give(self, data: bytes, span: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", span)
        assert match
        start, stop = int(match[1]), int(match[2]) + 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        registry, at = self.registry, registry_gate(self.registry, start, stop)
        if registry.cut_after:
            stop = min(stop, start + registry.cut_after.pop(0))
            self.close_connection = True
        try:
            self.wfile.write(data[start : min(at, stop)])
            if at < stop:
                registry.gate.wait(20)
                self.wfile.write(data[at:stop])
        except OSError:
            return
        registry.given_bytes += stop - start


def registry_gate(registry: Registry, start: int, stop: int) -> int:
    """Return up to where bytes flow before the gate is opened."""
    return stop if registry.gate_at is None else min(stop, max(start, registry.gate_at))


@contextmanager
def registry_running() -> Iterator[Registry]:
    registry = Registry()
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        registry.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Bench:
    registry: Registry
    cache: Cache
    files: Files
    folder: Path
    url: str

    def grant(self, model: str = MODEL, *, secret: str = SECRET, **changes: Any) -> None:
        grants = (CacheGrant(secret=secret, model=model),)
        self.cache.follow(spec(grants=grants, **changes))

    def manifest(self, tag: str = "8b", headers: dict[str, str] | None = None) -> httpx.Response:
        return self.get(f"/v2/{SECRET}/qwen3/manifests/{tag}", headers or AGENT)

    def blob(self, data: bytes, start: int = 0, stop: int | None = None) -> httpx.Response:
        last = (len(data) if stop is None else stop) - 1
        path = f"/v2/{SECRET}/qwen3/blobs/{digest_of(data)}"
        return self.get(path, {"Range": f"bytes={start}-{last}"})

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return CLIENT.get(f"{self.url}{path}", headers=headers or AGENT)


def spec(**changes: Any) -> CacheSpec:
    return CacheSpec(**{"limit_bytes": 2**40, "keep_free_bytes": 0} | changes)


def ahead(model: str = MODEL) -> tuple[CacheAhead, ...]:
    return (CacheAhead(model=model, version="0.32.15"),)


@contextmanager
def bench_of(registry: Registry, folder: Path) -> Iterator[Bench]:
    files, count = Files(folder), Count(folder / "count.json")
    SERVICES["registry.ollama.ai"] = Service(registry.url, ("cdn.example",))
    cache = Cache(files, UPSTREAM, Arrivals(files, UPSTREAM, count), count)
    with MirrorServer(cache, host="127.0.0.1", port=0) as server:
        bench = Bench(registry, cache, files, folder, f"http://127.0.0.1:{server.port}")
        bench.grant()
        yield bench
        cache.arrivals.keep_only(())
    count.save()
    files.close()
