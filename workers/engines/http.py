"""Bounded JSON requests to a model server, and what a failed one says about it."""

import errno
import time
from typing import Any

import httpx

from workers.engines.base import EngineDown

CONNECT_S = 3.0
# `/api/ps` may wait a few seconds for an unload that probes the GPUs.
READ_S = 10.0
# A time-out counts from byte to byte, so one that drips would hold a reading for ever.
WHOLE_S = 20.0
# `/api/show` of a large mixture-of-experts model is some hundred KB; beyond this is no answer.
MOST_BYTES = 64 * 2**20


class JsonClient:
    """Speaks JSON with one address, never through a proxy and never redirected."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            # A connection for each request: an idle one would be dead after a restart of Ollama.
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )

    def get(self, path: str) -> Any:
        """Return the decoded answer. Raises ``EngineDown``."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the decoded answer. Raises ``EngineDown``."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            with self._http.stream(method, path, json=body) as response:
                content = _bounded(response)
                response.raise_for_status()
            return httpx.Response(200, content=content).json()
        except httpx.HTTPStatusError as error:
            raise EngineDown("error", _refusal(error.response.status_code, content)) from error
        except (httpx.HTTPError, ValueError) as error:
            raise explain(error) from error


def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    until = time.monotonic() + WHOLE_S
    for chunk in response.iter_bytes():
        content += chunk
        if time.monotonic() > until:
            raise httpx.ReadTimeout("it drips")
        if len(content) > MOST_BYTES:
            raise ValueError(f"the answer is longer than {MOST_BYTES} bytes")
    return bytes(content)


def _refusal(status: int, content: bytes) -> str:
    if status == httpx.codes.FORBIDDEN and not content:
        return "it refuses requests under this host name (403); name it by its IP address"
    text = content[:200].decode(errors="replace").strip()
    return f"it answered {status} {text}".strip()


def explain(error: Exception) -> EngineDown:
    """Say what a failed request tells about the server."""
    match error:
        case httpx.ConnectTimeout():
            return EngineDown("unreachable", f"no answer within {CONNECT_S:.0f} s")
        case httpx.TimeoutException():
            return EngineDown("timeout", f"connected, and no answer within {READ_S:.0f} s")
        case httpx.ConnectError() if _errno(error) == errno.ECONNREFUSED:
            return EngineDown("refused", "nothing listens on this port")
        case httpx.ConnectError():
            return EngineDown("unreachable", f"cannot be reached: {error}")
        case httpx.TransportError():
            return EngineDown("error", f"the connection broke: {error}")
        case _:
            return EngineDown("error", f"it does not answer like Ollama: {error}")


def _errno(error: BaseException | None) -> int | None:
    """Find the system's error number below the layers that wrap it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
