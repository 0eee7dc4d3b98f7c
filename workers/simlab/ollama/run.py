"""``/api/generate`` and ``/api/chat``: load, answer, unload."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from aiohttp import web

from workers.simlab.machine import LoadRefused
from workers.simlab.ollama.gotime import DurationError, keep_alive_ns, now_ns, rfc3339
from workers.simlab.ollama.http import ApiError, reply, stream
from workers.simlab.ollama.lookup import read, required, resolve
from workers.simlab.ollama.manifest import Installed
from workers.simlab.ollama.options import OptionError, checked, load_options, load_request
from workers.simlab.ollama.scheduler import BusyError, Load, Runner
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.show import details, model_parameters
from workers.simlab.ollama.weights import Weights

_WORDS = ("The", "simulated", "model", "answers", "with", "words", "that", "mean", "nothing.")
# A longer question gets a longer answer.
_TOKENS_PER_WORD = 64
# Of what a model that thinks writes, the part that comes before its answer.
_THOUGHT = 1 / 3
# How much faster a prompt is read than an answer is written.
_PROMPT_FACTOR = 12
_NO_IMAGES = {
    "error": {
        "code": 400,
        "message": "Multimodal data provided, but model does not support multimodal requests.",
        "type": "invalid_request_error",
    }
}
_RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """A request for text. ``blank`` is the part of an answer that would hold it."""

    body: Mapping[str, Any]
    model: Installed
    prompt: str
    blank: dict[str, Any]

    def line(self, *parts: Mapping[str, Any]) -> dict[str, Any]:
        """Give one line of the answer, which begins as all do."""
        line = {"model": required(self.body), "created_at": rfc3339(now_ns())} | self.blank
        for part in parts:
            line |= part
        return line


async def generate(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/generate``."""
    body = await read(request, "GenerateRequest")
    model = resolve(server, required(body), missing="model '{}' not found")
    prompt = body.get("prompt", "")
    ask = _Ask(body=body, model=model, prompt=prompt, blank={"response": ""})
    return await _answer(server, request, ask)


async def chat(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/chat``."""
    body = await read(request, "ChatRequest")
    if not required(body):
        raise ApiError(400, "model is required")
    model = resolve(server, required(body), missing="model '{}' not found")
    prompt = "\n".join(str(each.get("content", "")) for each in body.get("messages", []))
    blank = {"message": {"role": "assistant", "content": ""}}
    return await _answer(server, request, _Ask(body=body, model=model, prompt=prompt, blank=blank))


async def _answer(server: OllamaServer, request: web.Request, ask: _Ask) -> web.StreamResponse:
    body = ask.body
    if not ask.prompt and body.get("keep_alive") is not None and not _keep_alive(body):
        weights = server.weights_of(ask.model)
        server.scheduler.expire(weights.digest if weights else "")
        return reply(ask.line(_done("unload")))
    _check_abilities(server, ask)
    started = time.monotonic_ns()
    async with loaded(server, body, ask.model) as (runner, _):
        if not ask.prompt:
            return reply(ask.line(_done("load")))
        lines = _lines(server, runner, ask, (started, time.monotonic_ns()))
        if body.get("stream", True):
            return await stream(request, lines, wanted=True)
        return reply(await _whole(lines))


@asynccontextmanager
async def loaded(
    server: OllamaServer, body: Mapping[str, Any], model: Installed
) -> AsyncIterator[tuple[Runner, Weights]]:
    """Have a request's model loaded while the block runs."""
    keep_alive = _keep_alive(body)
    weights = server.weights_of(model)
    there = server.store.blob_size(weights.digest) if weights else None
    if weights is None or there is None:
        raise ApiError(404, f'model "{required(body)}" not found, try pulling it first')
    if there < weights.size_bytes:
        end = f"offset+size ({weights.size_bytes}) exceeds file size ({there})"
        raise ApiError(500, f'tensor "token_embd.weight" {end}')
    load = _load(server, body, model, weights)
    if server.load_faults and not server.scheduler.has(load):
        text = server.load_faults.popleft()
        server.write("ERROR", f"error loading llama server: {text}")
        raise ApiError(503 if "server busy" in text else 500, text)
    try:
        async with server.scheduler.runner(load, keep_alive) as runner:
            _tell(server, load, runner)
            yield runner, weights
    except BusyError as error:
        raise ApiError(503, str(error)) from error
    except LoadRefused as error:
        server.write("ERROR", f"error loading llama server: {error.text}")
        raise ApiError(error.status, error.text) from error


def _tell(server: OllamaServer, load: Load, runner: Runner) -> None:
    placed = runner.loaded
    server.write(
        "INFO",
        f"load_tensors: offloaded {placed.gpu_layers}/{placed.layers} layers to GPU"
        f" model={load.request.name} ctx={placed.context_length}",
    )


def _load(
    server: OllamaServer, body: Mapping[str, Any], model: Installed, weights: Weights
) -> Load:
    common: dict[str, Any] = {
        "weights": weights,
        "machine": server.machine,
        "environment": server.environment,
    }
    try:
        given = checked(model_parameters(server, model) | body.get("options", {}))
    except OptionError as error:
        raise ApiError(500, str(error)) from error
    options = load_options(given, shift=body.get("shift", True), **common)
    name = model.name.short
    entry = {"name": name, "model": name, "size": 0, "digest": model.manifest.digest}
    entry["details"] = details(server, model, parent=False)
    return Load(request=load_request(options, name=name, **common), options=options, entry=entry)


async def _lines(
    server: OllamaServer, runner: Runner, ask: _Ask, timing: tuple[int, int]
) -> AsyncGenerator[dict[str, Any]]:
    """Give the answer word by word at the machine's speed; ``timing``: asked and loaded, ns."""
    limit = ask.body.get("options", {}).get("num_predict") or -1
    natural = _TOKENS_PER_WORD * len(ask.prompt.split())
    count = min(limit, natural) if limit > 0 else natural
    thoughts = int(count * _THOUGHT) if _thinks(server, ask) else 0
    rate = server.machine.tokens_per_s(runner.loaded.pid)
    prompt_tokens = len(ask.prompt.split()) + 20
    async with runner.slots:
        with server.machine.working(runner.loaded.pid):
            began = time.monotonic_ns()
            await asyncio.sleep(prompt_tokens / rate / _PROMPT_FACTOR)
            read_at = time.monotonic_ns()
            for number, word in enumerate(islice(cycle(_WORDS), count)):
                await asyncio.sleep(1 / rate)
                if not server.machine.runs(runner.loaded.pid):
                    raise ApiError(500, _RUNNER_DIED)
                text = _with_text(ask.blank, f"{word} ", thinks=number < thoughts)
                yield ask.line(text, {"done": False})
    ended = time.monotonic_ns()
    wants_context = "response" in ask.blank and not ask.body.get("raw")
    numbers = {
        "total_duration": ended - timing[0],
        "load_duration": timing[1] - timing[0],
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": read_at - began,
        "eval_count": count,
        "eval_duration": ended - read_at,
    }
    reason = _done("length" if count == limit else "stop")
    yield ask.line(reason, {"context": [1, 2, 3]} if wants_context else {}, numbers)


async def _whole(lines: AsyncGenerator[dict[str, Any]]) -> dict[str, Any]:
    """Join a stream into one answer."""
    text = ""
    last: dict[str, Any] = {}
    async for last in lines:
        text += last.get("response", "") or last.get("message", {}).get("content", "")
    return last | _with_text(
        {key: last[key] for key in ("response", "message") if key in last}, text
    )


def _with_text(blank: Mapping[str, Any], text: str, *, thinks: bool = False) -> dict[str, Any]:
    said, thought = ("", {"thinking": text}) if thinks else (text, {})
    if "message" in blank:
        return {"message": {"role": "assistant", "content": said, **thought}}
    return {"response": said, **thought}


def _thinks(server: OllamaServer, ask: _Ask) -> bool:
    """Whether a model thinks first: one that can does, unless told not to."""
    weights = server.weights_of(ask.model)
    can = weights is not None and "thinking" in weights.capabilities
    return can and ask.body.get("think") is not False


async def work(server: OllamaServer, runner: Runner, seconds: float) -> None:
    """Keep one slot of a runner, and its devices, busy."""
    async with runner.slots:
        with server.machine.working(runner.loaded.pid):
            await asyncio.sleep(seconds)


def _check_abilities(server: OllamaServer, ask: _Ask) -> None:
    """Refuse what the model cannot do; an embedding model can only embed."""
    weights = server.weights_of(ask.model)
    able = weights.capabilities if weights else ()
    name = required(ask.body)
    if weights and "completion" not in able:
        kind = "generate" if "response" in ask.blank else "chat"
        raise ApiError(400, f'"{name}" does not support {kind}')
    for field, ability in (("tools", "tools"), ("suffix", "insert")):
        if ask.body.get(field) and ability not in able:
            raise ApiError(400, f"{ask.model.name.full} does not support {ability}")
    if ask.body.get("think") and "thinking" not in able:
        raise ApiError(400, f'"{name}" does not support thinking')
    if ask.body.get("images") and not ask.model.manifest.layer("projector"):
        raise ApiError(400, json.dumps(_NO_IMAGES, separators=(",", ":")))


def _keep_alive(body: Mapping[str, Any]) -> int | None:
    try:
        return keep_alive_ns(body.get("keep_alive"))
    except DurationError as error:
        raise ApiError(400, str(error)) from error


def _done(reason: str) -> dict[str, Any]:
    return {"done": True, "done_reason": reason}
