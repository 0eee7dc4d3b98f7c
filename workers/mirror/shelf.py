"""What a server has to give: who implements ``Shelf`` decides what is served, and to whom."""

import hmac
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Protocol

from workers.mirror.limiting import MOST_PIECE_BYTES, TokenBucket

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# As large as no manifest is: those of Ollama have some kilobytes.
MOST_MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request names. ``namespace`` is where the secret stands.

    ``agent`` is the client's User-Agent; ``path`` is the request's, as it came.
    """

    namespace: str
    model: str
    path: str
    agent: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest, byte by byte as the registry gave it: its SHA-256 is the model's digest.

    ``headers`` are what else its answer says.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why something is not given: passed on with its status."""

    status: int = HTTPStatus.NOT_FOUND
    text: str = "not found"


UNKNOWN = Refusal()


class Outlet(Protocol):
    """Where the body of an answer goes."""

    async def send_file(self, file: BinaryIO, start: int, count: int) -> None:
        """Send a part of a file, without reading it into memory where the system can."""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""


class Blob(Protocol):
    """A layer or a config."""

    @property
    def size_bytes(self) -> int:
        """Its size when whole."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What else its answers say."""

    def body_bytes(self, start: int, stop: int) -> int | None:
        """Return how long the answer with these bytes is; ``None`` where that is not known."""

    async def send_to(self, outlet: Outlet, start: int, stop: int) -> None:
        """Send the bytes from ``start`` up to ``stop``. Raises ``OSError`` where they are gone."""


class Shelf(Protocol):
    """What is served. All is asked in the server's event loop, so nothing may block for long."""

    async def manifest(self, asked: Asked, tag: str) -> Manifest | Refusal:
        """Return a manifest; whoever does not know the secret gets ``UNKNOWN``, as for no model."""

    async def blob(self, asked: Asked, digest: str) -> Blob | Refusal:
        """Return what has a digest (``sha256:<hex>``), where that model has it."""


@dataclass(frozen=True, kw_only=True)
class FileBlob:
    """A blob that is a file, whole or still growing.

    ``arrived`` waits until the byte at an offset is there, and returns up to where it goes on
    without a gap; ``None`` for a whole file. ``given`` is told of each piece that was sent.
    """

    path: Path
    size_bytes: int
    limiter: TokenBucket | None = None
    arrived: Callable[[int], Awaitable[int]] | None = None
    given: Callable[[int], None] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body_bytes(self, start: int, stop: int) -> int:
        """Return how many bytes that are."""
        return stop - start

    async def send_to(self, outlet: Outlet, start: int, stop: int) -> None:
        """Send piece by piece, as the limit lets them through."""
        with open_plain(self.path) as file:
            async for at, count in self._pieces(start, stop):
                await outlet.send_file(file, at, count)
                if self.given:
                    self.given(count)

    async def _pieces(self, start: int, stop: int) -> AsyncIterator[tuple[int, int]]:
        end = stop if self.arrived is None else start
        while start < stop:
            if self.arrived is not None and start >= end:
                end = await self.arrived(start)
            most = self.limiter.piece_bytes if self.limiter else MOST_PIECE_BYTES
            count = min(most, min(end, stop) - start)
            if self.limiter:
                await self.limiter.take(count)
            yield start, count
            start += count


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading, and nothing else: a pipe would block, a link may lead anywhere.

    Raises ``OSError``.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, name, 0)
    number = os.open(path, flags)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb", buffering=0)
    os.close(number)
    raise OSError(f"no file: {path.name}")


def find_secret[T](given: str, known: Iterable[tuple[str, T]]) -> T | None:
    """Return what belongs to a secret, in a time that tells nothing of the others."""
    found = None
    for secret, value in known:
        if hmac.compare_digest(secret.encode(), given.encode()):
            found = value
    return found
