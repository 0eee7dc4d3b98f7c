"""``/api/embed`` and the older ``/api/embeddings``."""

import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from workers.simlab.ollama.http import ApiError, reply
from workers.simlab.ollama.lookup import read, required, resolve
from workers.simlab.ollama.run import loaded, work
from workers.simlab.ollama.server import OllamaServer

_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
_MISSING = 'model "{}" not found, try pulling it first'
_EMBED_S = 0.02
# Tokens that the model adds around a text.
_EXTRA_TOKENS = 2


async def embed(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/embed``; without any text it only loads the model."""
    body = await read(request, "EmbedRequest")
    texts = _texts(body.get("input"))
    model = resolve(server, required(body), missing=_MISSING if required(body) else None)
    started = time.monotonic_ns()
    async with loaded(server, body, model) as (runner, weights):
        load_ns = time.monotonic_ns() - started
        answer: dict[str, Any] = {"model": required(body), "embeddings": []}
        if not texts:
            return reply(answer)
        if "embedding" not in weights.capabilities:
            raise ApiError(501, _NO_EMBEDDINGS)
        await work(server, runner, _EMBED_S)
        answer["embeddings"] = [_vector(text, weights.embedding_length) for text in texts]
    answer |= {"total_duration": time.monotonic_ns() - started, "load_duration": load_ns}
    tokens = sum(len(text.split()) + _EXTRA_TOKENS for text in texts)
    return reply(answer | {"prompt_eval_count": tokens})


async def embeddings(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/embeddings``."""
    body = await read(request, "EmbeddingRequest")
    if not required(body):
        raise ApiError(400, "model is required")
    model = resolve(server, required(body), missing=_MISSING)
    async with loaded(server, body, model) as (runner, weights):
        if "embedding" not in weights.capabilities:
            raise ApiError(501, _NO_EMBEDDINGS)
        await work(server, runner, _EMBED_S)
        return reply({"embedding": _vector(body.get("prompt", ""), weights.embedding_length)})


def _texts(given: object) -> Sequence[str]:
    texts = [given] if isinstance(given, str) else given or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, "invalid input type")
    return [text for text in texts if text]


def _vector(text: str, length: int) -> list[float]:
    """Make an embedding of the right length out of nothing but the text's letters."""
    seed = sum(text.encode()) or 1
    return [((seed * (place + 1)) % 997) / 997 - 0.5 for place in range(length)]
