"""One ``POST /api/chat`` of Ollama, read line by line, and why it failed in plain words."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from workers.engines.base import EngineDown
from workers.engines.http import CONNECT_S, explain
from workers.values import Count, Maybe, Medium

# A line is a few words of an answer; the last one of some servers holds the tokens of a context.
MOST_LINE_BYTES = 2**20
MOST_REFUSAL_BYTES = 2000

# Searched in this order.
_RULES = (
    (r"does not support (chat|generate)", "{model} cannot answer: it only makes embeddings."),
    (r"not found|no such file", "{model} is not installed there any more, or its file is missing."),
    (r"maximum pending requests", "Ollama has too many requests waiting already. Try again later."),
    (
        r"out.?of.?memory|requires more system memory|cudaMalloc|memory layout cannot",
        "There is not enough memory for {model} now. Ollama says: {text}.",
    ),
    (
        r"unexpected EOF|unexpectedly stopped|has terminated",
        "The process that runs {model} ended. Ollama says: {text}.",
    ),
    (r"timed out waiting", "{model} took too long to load. Ollama says: {text}."),
    (r"cloud is disabled|unauthorized", "{model} runs in Ollama's cloud, which is not open here."),
)
_SHOWN = 300


class ChatFailed(Exception):  # noqa: N818 - named for what became of the answer
    """The model gave no answer, or not all of it; the text says why."""


class Piece(BaseModel):
    """What one line adds to an answer."""

    content: str = ""
    thinking: str = ""


class ChatLine(BaseModel):
    """A line of the answer; times are in nanoseconds and, where they are 0, left out."""

    message: Piece = Field(default_factory=Piece)
    done: bool = False
    done_reason: str = ""
    error: str = ""
    load_duration: Maybe[Count] = None
    prompt_eval_count: Maybe[Medium] = None
    prompt_eval_duration: Maybe[Count] = None
    eval_count: Maybe[Medium] = None
    eval_duration: Maybe[Count] = None


async def chat(url: str, body: dict[str, Any]) -> AsyncGenerator[ChatLine]:
    """Yield the lines of an answer up to its last one; to leave it closes the connection.

    That stops the model, and a load that is under way. Raises ``ChatFailed``.
    """
    model = str(body["model"])
    try:
        # No bound on silence: a load may take many minutes.
        async with (
            httpx.AsyncClient(
                base_url=url, timeout=httpx.Timeout(None, connect=CONNECT_S), trust_env=False
            ) as client,
            client.stream("POST", "/api/chat", json=body) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ChatFailed(say_why(await _refusal(response), model))
            async for raw in _lines(response):
                line = _parsed(raw)
                if line.error:
                    raise ChatFailed(say_why(line.error, model))
                yield line
                if line.done:
                    return
    except (httpx.HTTPError, ValueError) as error:
        raise ChatFailed(unreached(explain(error), model)) from error
    raise ChatFailed("The connection to Ollama ended in the middle of the answer.")


def unreached(down: EngineDown, model: str) -> str:
    """Say that the server gave no usable answer to a question about a model."""
    return _by_rule(down.reason, model) or f"Ollama did not answer: {down.reason}."


def say_why(text: str, model: str) -> str:
    """Put the text of a failure in plain words."""
    return _by_rule(text, model) or f"Ollama says: {_line(text)}."


def _by_rule(text: str, model: str) -> str | None:
    found = (said for pattern, said in _RULES if re.search(pattern, text, re.IGNORECASE))
    said = next(found, None)
    return said and said.format(model=model, text=_line(text))


def _line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".") or "nothing more"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


async def _refusal(response: httpx.Response) -> str:
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MOST_REFUSAL_BYTES:
            break
    try:
        return ChatLine.model_validate_json(content).error or "nothing more"
    except ValidationError:
        text = content[:200].decode(errors="replace")
        return f"status {response.status_code} {text}".strip()


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield whole lines. Raises ``ValueError`` for one that has no end."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(rest) > MOST_LINE_BYTES:
            raise ValueError(f"a line is longer than {MOST_LINE_BYTES} bytes")


def _parsed(raw: bytes) -> ChatLine:
    try:
        return ChatLine.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, problem['loc']))} {problem['msg']}") from error
