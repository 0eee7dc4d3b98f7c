"""The fake server as a client of registries. It never leaves this machine."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from workers.simlab.ollama.body import go_json_error
from workers.simlab.ollama.names import Name
from workers.simlab.registry import FAULT_HEADER, MANIFEST_TYPE, VIRTUAL_HEADER

_CONNECT_S = 10
_REQUEST_S = 60
_NOT_FOUND, _UNAUTHORIZED, _OK, _REDIRECT, _BAD = 404, 401, 200, 307, 400


class UpstreamError(Exception):
    """A registry gave no good answer; the message is the one that Ollama would show."""


class TransferBrokenError(Exception):
    """A transfer ended before its time; the message is Go's."""


class TransferResetError(TransferBrokenError):
    """The connection was reset: what had arrived of the part is lost."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a pull takes its blobs from: the repository, and how to speak to its host."""

    base: str
    shown_base: str
    repository: str

    def url(self, rest: str) -> str:
        """Give the address to dial."""
        return f"{self.base}/v2/{self.repository}/{rest}"

    def shown(self, rest: str) -> str:
        """Give the address as an error text tells it."""
        return f"{self.shown_base}/v2/{self.repository}/{rest}"

    @property
    def shown_host(self) -> str:
        """Host (and port) as the name had it."""
        return self.shown_base.partition("://")[2]

    def disguise(self, text: str) -> str:
        """Put the name's own host where an error text has the one that was dialled."""
        dialled = self.base.partition("://")[2]
        return text.replace(self.base, self.shown_base).replace(dialled, self.shown_host)


class Upstream:
    """Registries by host.

    ``secure`` and ``plain`` map hosts to the base URLs that stand for them; a plain one answers
    only pulls with ``insecure``. Loopback hosts are dialled as they are; no other host exists.
    """

    def __init__(
        self, *, version: str, secure: Mapping[str, str], plain: Mapping[str, str] | None = None
    ) -> None:
        self._secure = secure
        self._plain = plain or {}
        self._agent = f"ollama/{version} (amd64 linux) Go/go1.26.0"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    async def manifest(self, name: Name, *, insecure: bool) -> tuple[Source, bytes, str]:
        """Fetch a manifest; give also the fault that the simulated registry orders."""
        source = self._source(name, insecure=insecure)
        if not insecure and source.base == self._plain_base(name.host):
            await self._expect_tls(source, name)
        what = f"manifests/{name.tag}"
        async with self._request("GET", source, what, {"Accept": MANIFEST_TYPE}) as response:
            body = await response.read()
            if response.status == _UNAUTHORIZED:
                raise UpstreamError("unauthorized: access denied")
            _raise_for(response.status, body.decode(errors="replace"))
            try:
                json.loads(body)
            except ValueError as error:
                raise UpstreamError(go_json_error(error)) from error
            return source, body, response.headers.get(FAULT_HEADER, "")

    async def head(self, source: Source, digest: str) -> tuple[int, bool]:
        """Tell a blob's size in bytes and whether it is virtual."""
        async with self._request("HEAD", source, f"blobs/{digest}", {}) as response:
            _raise_for(response.status, "")
            size = int(response.headers["Content-Length"])
            return size, VIRTUAL_HEADER in response.headers

    async def direct_url(self, source: Source, digest: str) -> str:
        """Find the address that the bytes come from. Raises TransferBrokenError to try again."""
        async with self._request("GET", source, f"blobs/{digest}", {}) as response:
            if response.status >= _BAD:
                raise TransferBrokenError(str(response.status))
            if response.status not in {_OK, _REDIRECT}:
                raise UpstreamError(f"unexpected status code {response.status}")
            if "Location" not in response.headers:
                raise UpstreamError("http: no Location header in response")
            return str(response.url.join(URL(response.headers["Location"])))

    async def read(self, url: str, size_bytes: int) -> bytes:
        """Fetch a real blob whole. Raises TransferBrokenError."""
        pieces = [piece async for piece in self._pieces(url, 0, size_bytes - 1, {}, size_bytes)]
        return b"".join(pieces)

    async def grants(
        self, url: str, start: int, end: int, *, stall_s: float
    ) -> AsyncIterator[tuple[int, bool]]:
        """Give the bytes of a virtual blob as they are let through, and whether they are bad.

        Raises TransferBrokenError where the registry breaks off, TimeoutError after ``stall_s``
        without any.
        """
        left, rest = end + 1 - start, b""
        async for piece in self._pieces(url, start, end, {VIRTUAL_HEADER: "1"}, None, stall_s):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                number, _, mark = line.partition(b" ")
                left -= int(number)
                yield int(number), bool(mark)
        if left:
            raise TransferBrokenError("EOF")

    async def _pieces(
        self,
        url: str,
        start: int,
        end: int,
        headers: dict[str, str],
        size_bytes: int | None,
        stall_s: float = 30,
    ) -> AsyncIterator[bytes]:
        headers = headers | {"Range": f"bytes={start}-{end}", "User-Agent": "Go-http-client/1.1"}
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=stall_s)
        got = 0
        try:
            async with self._client().get(url, headers=headers, timeout=timeout) as response:
                async for piece in response.content.iter_any():
                    got += len(piece)
                    yield piece
        except aiohttp.ServerTimeoutError as error:
            raise TimeoutError from error
        except aiohttp.ClientConnectorError as error:
            raise TransferBrokenError(f'Get "{url}": {_reason(error, url)}') from error
        except aiohttp.ClientError as error:
            # aiohttp tells a reset from an early end in its text alone.
            was_reset = ConnectionResetError.__name__ in str(error)
            broken = TransferResetError if was_reset else TransferBrokenError
            raise broken("EOF") from error
        if size_bytes is not None and got != size_bytes:
            raise TransferBrokenError("EOF")

    def _request(
        self, method: str, source: Source, what: str, headers: dict[str, str]
    ) -> "_Request":
        return _Request(self._client(), method, source, what, headers | {"User-Agent": self._agent})

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_REQUEST_S, connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    def _source(self, name: Name, *, insecure: bool) -> Source:
        repository = f"{name.namespace}/{name.model}"
        shown = f"{'http' if insecure else 'https'}://{name.host}"
        what = f'Get "{shown}/v2/{repository}/manifests/{name.tag}"'
        base = self._secure.get(name.host) or self._plain_base(name.host)
        if base is None:
            host = name.host.partition(":")[0]
            raise UpstreamError(f"{what}: dial tcp: lookup {host} on 127.0.0.53:53: no such host")
        return Source(base=base, shown_base=shown, repository=repository)

    def _plain_base(self, host: str) -> str | None:
        return None if host in self._secure else self._plain.get(host) or _loopback(host)

    async def _expect_tls(self, source: Source, name: Name) -> None:
        """Fail as a TLS handshake with a plain server does, if somebody listens at all."""
        what = f"manifests/{name.tag}"
        async with self._request("GET", source, what, {}):
            wrong = "tls: first record does not look like a TLS handshake"
            raise UpstreamError(f'Get "{source.shown(what)}": {wrong}')


class _Request:
    """One request whose failure to connect reads as Ollama's would."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        method: str,
        source: Source,
        what: str,
        headers: dict[str, str],
    ) -> None:
        self._source, self._what, self._method = source, what, method
        self._call = client.request(
            method, source.url(what), headers=headers, allow_redirects=False
        )

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            return await self._call.__aenter__()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = _reason(error, self._source.base, self._source.shown_host)
            method = self._method.title()
            raise UpstreamError(f'{method} "{self._source.shown(self._what)}": {reason}') from error

    async def __aexit__(self, *exception: object) -> None:
        await self._call.__aexit__(None, None, None)


def _raise_for(status: int, text: str) -> None:
    if status == _NOT_FOUND:
        raise UpstreamError("file does not exist")
    if status >= _BAD:
        raise UpstreamError(f"{status}: {text}")


def _reason(error: Exception, url: str, shown_host: str = "") -> str:
    host = shown_host or URL(url).authority
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {host}: connect: connection refused"
    if isinstance(error, asyncio.TimeoutError):
        return "context deadline exceeded"
    return "EOF"


def _loopback(host: str) -> str | None:
    address = host.rpartition(":")[0] or host
    try:
        near = address == "localhost" or ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        near = False
    return f"http://{host}" if near else None
