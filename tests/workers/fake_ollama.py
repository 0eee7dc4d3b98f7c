"""A scripted Ollama server for edge cases of the protocol: real HTTP, on a thread of its own.

What each call answers is set by the test; each pull plays its model's script step by step.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from workers.simlab.ollama.host import Door

type Answer = Callable[[], Awaitable[web.StreamResponse]]

GGUF = {"format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "8.2B"}


def layer(digest: str, total: int | None = None, completed: int | None = None) -> dict[str, Any]:
    """Write a progress line as Ollama does: it leaves out what is 0."""
    line: dict[str, Any] = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}"}
    return line | {k: v for k, v in {"total": total, "completed": completed}.items() if v}


MANIFEST = {"status": "pulling manifest"}
VERIFYING = {"status": "verifying sha256 digest"}
WRITING = {"status": "writing manifest"}
SUCCESS = {"status": "success"}


@dataclass(frozen=True)
class Wait:
    """A step that sends nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """A step that sends nothing until the test lets it go on."""

    event: threading.Event = field(default_factory=threading.Event)

    def let_go(self) -> None:
        """Go on."""
        self.event.set()


@dataclass(frozen=True)
class Cut:
    """A step that breaks the connection."""


@dataclass(frozen=True)
class Refuse:
    """A first step: an HTTP status and its body instead of a stream."""

    status: int
    text: str = ""


@dataclass(frozen=True)
class Repeat:
    """A step that sends one line again and again, as Ollama does each 60 ms."""

    line: dict[str, Any]
    times: int


type Step = dict[str, Any] | Wait | Hold | Cut | Refuse | Repeat


@dataclass
class Seen:
    """A pull as the server saw it; times are of the monotonic clock."""

    model: str
    began_at: float
    ended_at: float | None = None
    left: bool = False


@dataclass
class FakeOllama:
    """What the server answers, and what it has seen."""

    url: str = ""
    version: str = "0.32.15"
    tags: list[dict[str, Any]] = field(default_factory=list)
    running: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    delays_s: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Refuse] = field(default_factory=dict)
    # One script a pull of the model, the last one for all further pulls.
    scripts: dict[str, list[list[Step]]] = field(default_factory=dict)
    # What a question to a model is answered with.
    chats: dict[str, list[Step]] = field(default_factory=dict)
    # And how it goes when one is made.
    made: dict[str, list[Step]] = field(default_factory=dict)
    asked: list[Seen] = field(default_factory=list)
    pulls: list[Seen] = field(default_factory=list)
    calls: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)

    def install(self, name: str, digest: str, blob: str) -> None:
        """Add a model to the list."""
        self.tags.append(
            {
                "name": name,
                "model": name,
                "modified_at": "2026-08-20T09:14:03.512345678+02:00",
                "size": 5_225_388_164,
                "digest": digest,
                "details": {**GGUF, "parent_model": "", "quantization_level": "Q4_K_M"},
                "capabilities": ["completion", "tools"],
            }
        )
        self.shown[name] = {
            "modelfile": f"# Modelfile\nFROM /models/blobs/sha256-{blob}\nTEMPLATE x\n",
            "details": {**GGUF, "parent_model": "", "quantization_level": "Q4_K_M"},
            "model_info": {
                "general.architecture": "qwen3",
                "general.parameter_count": 8_190_735_360,
                "qwen3.context_length": 40960,
                "qwen3.block_count": 36,
                "tokenizer.ggml.tokens": None,
            },
            "capabilities": ["completion", "tools", "thinking"],
        }

    @property
    def most_pulls_at_once(self) -> int:
        """The largest number of pulls that were open together."""
        moments = [(pull.began_at, 1) for pull in self.pulls]
        moments += [(pull.ended_at, -1) for pull in self.pulls if pull.ended_at is not None]
        count, most = 0, 0
        for _, change in sorted(moments):
            count += change
            most = max(most, count)
        return most

    def application(self) -> web.Application:
        """Return the server's routes."""
        app = web.Application()
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_post("/api/chat", self._chat)
        app.router.add_post("/api/create", self._create)
        return app

    async def _answer(self, request: web.Request, body: Any) -> web.Response:
        payload = await request.json() if request.can_read_body else None
        self.calls.append((request.path, payload, dict(request.headers)))
        with suppress(_LeftError):
            await self._wait(request, self.delays_s.get(request.path, 0))
        if failure := self.failures.get(request.path):
            return web.Response(status=failure.status, text=failure.text)
        return web.json_response(body)

    async def _version(self, request: web.Request) -> web.Response:
        return await self._answer(request, {"version": self.version})

    async def _tags(self, request: web.Request) -> web.Response:
        return await self._answer(request, {"models": self.tags})

    async def _ps(self, request: web.Request) -> web.Response:
        return await self._answer(request, {"models": self.running})

    async def _show(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        if name not in self.shown:
            error = {"error": f"model '{name}' not found"}
            return web.json_response(error, status=404)
        return await self._answer(request, self.shown[name])

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        self.calls.append((request.path, payload, dict(request.headers)))
        model = payload["model"]
        seen = Seen(model, time.monotonic())
        self.pulls.append(seen)
        script = self._next_script(model)
        if script and isinstance(script[0], Refuse):
            seen.ended_at = time.monotonic()
            return web.Response(status=script[0].status, text=script[0].text)
        return await self._play(request, script, seen)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._scripted(request, self.chats)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        return await self._scripted(request, self.made)

    async def _scripted(
        self, request: web.Request, scripts: dict[str, list[Step]]
    ) -> web.StreamResponse:
        payload = await request.json()
        self.calls.append((request.path, payload, dict(request.headers)))
        seen = Seen(payload["model"], time.monotonic())
        self.asked.append(seen)
        script = scripts[payload["model"]]
        if script and isinstance(script[0], Refuse):
            seen.ended_at = time.monotonic()
            return web.Response(status=script[0].status, text=script[0].text)
        return await self._play(request, script, seen)

    def _next_script(self, model: str) -> list[Step]:
        scripts = self.scripts[model]
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]

    async def _play(
        self, request: web.Request, script: list[Step], seen: Seen
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            for step in script:
                await self._step(request, response, step)
        except (ConnectionError, _LeftError):
            seen.left = True
        finally:
            seen.ended_at = time.monotonic()
        return response

    async def _step(self, request: web.Request, response: web.StreamResponse, step: Step) -> None:
        match step:
            case Wait(seconds):
                await self._wait(request, seconds)
            case Hold(event):
                await self._hold(request, event)
            case Cut():
                assert request.transport
                request.transport.abort()
                raise _LeftError
            case Repeat(line, times):
                await self._repeat(request, response, line, times)
            case dict():
                await self._send(response, step)
            case Refuse():
                raise AssertionError("a refusal can only come first")

    async def _hold(self, request: web.Request, event: threading.Event) -> None:
        while not event.is_set():
            await self._wait(request, 0.02)

    async def _repeat(
        self, request: web.Request, response: web.StreamResponse, line: dict[str, Any], times: int
    ) -> None:
        for _ in range(times):
            await self._send(response, line)
            await self._wait(request, 0.06)

    async def _send(self, response: web.StreamResponse, line: dict[str, Any]) -> None:
        await response.write(json.dumps(line).encode() + b"\n")

    async def _wait(self, request: web.Request, seconds: float) -> None:
        """Wait, and notice within 20 ms when the client leaves."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if request.transport is None or request.transport.is_closing():
                raise _LeftError
            await asyncio.sleep(min(0.02, seconds))


class _LeftError(Exception):
    """The connection is gone."""


@contextmanager
def serve(app: web.Application, *, port: int = 0) -> Iterator[str]:
    """Serve an application on loopback; yields its address."""
    loop = asyncio.new_event_loop()
    door = Door(app, cancels=False)

    async def stop() -> None:
        await door.close()
        # Closed transports say goodbye in the loop's next rounds.
        await asyncio.sleep(0.05)

    bound = loop.run_until_complete(door.open(port))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def fake_ollama(*, port: int = 0) -> Iterator[FakeOllama]:
    """Run a scripted server for the length of a test."""
    fake = FakeOllama()
    with serve(fake.application(), port=port) as fake.url:
        yield fake
