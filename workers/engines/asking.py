"""One request that changes something on a server, however long it takes, and its refusals."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from workers.engines.base import EngineDown
from workers.engines.http import CONNECT_S
from workers.engines.http import explain as explain_http

MOST_ANSWER_BYTES = 64 * 1024
SILENT = "Ollama does not answer. See whether it runs."


class Refused(Exception):  # noqa: N818 - named for what the server did
    """The server did not do it; ``text`` is what it said, or what became of it."""

    def __init__(self, text: str, *, status: int | None = None, meaning: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.meaning = meaning


async def ask(url: str, method: str, path: str, body: dict[str, Any]) -> None:
    """Send a request that is answered in one piece. Raises ``Refused``."""
    async with asked(url, method, path, body) as answer:
        raise_refusal(await start_of(answer), status=answer.status_code)


@asynccontextmanager
async def asked(
    url: str, method: str, path: str, body: dict[str, Any]
) -> AsyncIterator[httpx.Response]:
    """Send a request and have its answer while the block runs. Raises ``Refused``."""
    timeout = httpx.Timeout(None, connect=CONNECT_S)
    try:
        async with (
            httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as client,
            client.stream(method, path, json=body) as answer,
        ):
            yield answer
    except httpx.HTTPError as error:
        down = explain_http(error)
        raise Refused(down.reason, meaning=_away(down)) from error


async def start_of(answer: httpx.Response) -> bytes:
    """Read an answer to its end, and return as much of it as any answer of Ollama has."""
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk[: MOST_ANSWER_BYTES - len(content)]
    return bytes(content)


def raise_refusal(content: bytes, *, status: int) -> None:
    """Raise ``Refused`` where an answer is one: an error may come with status 200."""
    text = _error_of(content)
    if status != httpx.codes.OK or text is not None:
        raise Refused(text or f"status {status}", status=status)


def _away(down: EngineDown) -> str:
    if down.state in {"refused", "unreachable"}:
        return SILENT
    return "Ollama went away in the middle of it. See whether it runs."


def _error_of(content: bytes) -> str | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return content[:500].decode(errors="replace").strip() or None
    error = answer.get("error") if isinstance(answer, dict) else None
    return None if error is None else error if isinstance(error, str) else json.dumps(error)
