"""A pull's answer, read in a thread of its own so that it can be left at any moment."""

import contextlib
import logging
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import ollama

from workers.engines.names import without_places

CONNECT_S = 5.0
# A line of Ollama has some 200 bytes, and comes each 60 ms; what has more is not Ollama's.
MOST_LINE_BYTES = 2**20
MOST_UNREAD_LINES = 10_000

log = logging.getLogger(__name__)

# A machine that lost its power keeps a silent connection: the system probes after 15 s of
# silence, and gives up 20 s later.
_KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
    if hasattr(socket, name)
]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One progress line. Ollama leaves out ``completed`` while it is 0."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None


@dataclass(frozen=True, kw_only=True)
class End:
    """How the answer ended.

    ``error``: Ollama said so, ``status`` being that of HTTP, or ``None`` within the stream.
    ``cut``: the connection broke. ``refused``: there was none. ``closed``: it just ended.
    """

    kind: Literal["success", "error", "cut", "refused", "closed"]
    text: str = ""
    status: int | None = None


class PullStream:
    """Lines of one ``POST /api/pull``, and then its one ``End``."""

    def __init__(self, url: str, model: str, *, read_s: float, insecure: bool = False) -> None:
        self._model = model
        self._insecure = insecure
        self._lines: queue.SimpleQueue[Line | End] = queue.SimpleQueue()
        self._left = threading.Event()
        self._socket: socket.socket | None = None
        self._guard = threading.Lock()
        self._is_headless = False
        self._client = ollama.Client(
            host=url,
            timeout=httpx.Timeout(read_s, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
            transport=httpx.HTTPTransport(socket_options=_KEEPALIVE),
            event_hooks={"request": [self._watch], "response": [_bound]},
        )
        self._thread = threading.Thread(target=self._run, name=f"pull-{model}", daemon=True)
        self._thread.start()

    def next(self, *, wait_s: float) -> Line | End | None:
        """Return what came, or ``None`` when nothing did in ``wait_s``."""
        is_open = self.is_open
        try:
            return self._lines.get(timeout=wait_s if is_open else 0)
        except queue.Empty:
            # Its end is the last thing that a reader puts here.
            return None if is_open else End(kind="cut", text="the reader has ended")

    @property
    def is_headless(self) -> bool:
        """Whether another program's pull of the same blob still waits for the registry.

        Only the second of two pulls sees lines that name a blob and no size. Who leaves then
        brings the whole server down (seen on 0.33.0-rc2).
        """
        return self._is_headless

    @property
    def is_open(self) -> bool:
        """Whether the answer is still being read."""
        return self._thread.is_alive()

    def leave(self) -> None:
        """Close the connection at once, or as soon as that does the server no harm."""
        self._left.set()
        if not self._is_headless:
            self._hang_up()

    def join(self, *, wait_s: float) -> None:
        """Wait for the connection to be closed."""
        self._thread.join(wait_s)

    def _hang_up(self) -> None:
        with self._guard:
            # Not SSLSocket.shutdown: that one unwraps TLS under the reader's feet.
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _watch(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self._trace

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        """Note the socket as soon as there is one, long before an answer."""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._guard:
                self._socket = info["return_value"].get_extra_info("socket")
            if self._left.is_set():
                self._hang_up()

    def _run(self) -> None:
        try:
            end = self._read()
        except ollama.ResponseError as error:
            status = error.status_code if error.status_code > 0 else None
            end = End(kind="error", text=error.error, status=status)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            end = End(kind="refused", text=str(error))
        except (httpx.HTTPError, ValueError, OSError) as error:
            end = End(kind="cut", text=str(error) or type(error).__name__)
        except Exception as error:  # the client takes any JSON for an object
            log.exception("answer not understood model=%s", without_places(self._model))
            end = End(kind="cut", text=str(error) or type(error).__name__)
        self._lines.put(end)
        with self._guard:
            self._socket = None
        self._client.close()  # type: ignore[no-untyped-call]

    def _read(self) -> End:
        for line in self._answers():
            if line.status == "success":
                return End(kind="success")
            self._is_headless = line.digest is not None and line.total is None
            if not self._left.is_set():
                self._lines.put(line)
                if self._lines.qsize() > MOST_UNREAD_LINES:
                    return End(kind="cut", text="it sends more lines than can be read")
            elif not self._is_headless:
                break
        return End(kind="closed")

    def _answers(self) -> Iterator[Line]:
        for part in self._client.pull(self._model, insecure=self._insecure, stream=True):
            yield Line(
                status=part.status or "",
                digest=part.digest,
                total=part.total,
                completed=part.completed,
            )


class _Bounded(httpx.SyncByteStream):
    """An answer's bytes, until a line is too long; a refusal is one line, whatever is in it."""

    def __init__(self, stream: httpx.SyncByteStream, *, is_refusal: bool) -> None:
        self._stream = stream
        self._is_refusal = is_refusal

    def __iter__(self) -> Iterator[bytes]:
        length = 0
        for chunk in self._stream:
            end = -1 if self._is_refusal else chunk.rfind(b"\n")
            length = len(chunk) - end - 1 + (length if end < 0 else 0)
            if length > MOST_LINE_BYTES:
                raise httpx.ReadError("it sends a line without an end")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx.Response) -> None:
    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _Bounded(response.stream, is_refusal=not response.is_success)
