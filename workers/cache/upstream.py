"""Registries as the cache asks them: few hosts, checked redirects, bounded and exact answers."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from workers.cache.addresses import SERVICES, Address, Service
from workers.cache.manifests import MOST_BYTES
from workers.mirror.shelf import MANIFEST_TYPE

# A read waits no longer than this for the next byte, so that a hung line is asked anew.
TIMEOUT = httpx.Timeout(30, connect=10)
# A time-out counts from byte to byte: a manifest that drips would hold all who ask for it.
WHOLE_S = 60.0
MOST_REDIRECTS = 5
# What a registry says of an error is passed on up to here.
MOST_TEXT_BYTES = 4096
OK, PARTIAL, TOO_MANY, BAD, SERVER_ERROR = 200, 206, 429, 400, 500
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class UpstreamDown(Exception):  # noqa: N818 - named for the state
    """A registry does not answer, or not now: another try may mend it."""


class UpstreamBad(Exception):  # noqa: N818 - named for the state
    """A registry gives what cannot be right, or refuses: another try mends nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said: a manifest, or why there is none."""

    status: int
    body: bytes


class Upstream:
    """Asks registries, by the proxy of the environment if it has one.

    Safe to use from many threads.
    """

    def __init__(
        self, services: Mapping[str, Service] = SERVICES, *, by_proxy: bool = True
    ) -> None:
        self._services = services
        self._client = httpx.Client(
            timeout=TIMEOUT,
            trust_env=by_proxy,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def manifest(self, address: Address, *, user_agent: str) -> Answer:
        """Ask for a manifest as ``user_agent`` would. Raises ``UpstreamDown``, ``UpstreamBad``."""
        service = self._services[address.host]
        url = f"{service.base}/v2/{address.repository}/manifests/{address.tag}"
        headers = {"Accept": MANIFEST_TYPE, "User-Agent": user_agent}
        with self._get(service, url, headers) as response:
            if response.status_code == TOO_MANY or response.status_code >= SERVER_ERROR:
                raise UpstreamDown(f"{_host(url)} answers {response.status_code}")
            is_good = response.status_code == OK
            return Answer(
                response.status_code, _read(response, MOST_BYTES if is_good else MOST_TEXT_BYTES)
            )

    def pieces(
        self, address: Address, digest: str, *, start: int, stop: int, size_bytes: int
    ) -> Iterator[bytes]:
        """Yield the bytes of a blob from ``start`` to before ``stop``, and no other.

        Raises ``UpstreamDown``, ``UpstreamBad``.
        """
        service = self._services[address.host]
        url = f"{service.base}/v2/{address.repository}/blobs/{digest}"
        headers = {"Range": f"bytes={start}-{stop - 1}", "User-Agent": "labdash"}
        with self._get(service, url, headers) as response:
            _check(response, start=start, size_bytes=size_bytes)
            left = stop - start
            for piece in _raw(response):
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return
        raise UpstreamDown(f"{_host(url)} broke off")

    @contextmanager
    def _get(self, service: Service, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Ask, and go where the service sends us as long as that is its own."""
        headers = headers | {"Accept-Encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            if not service.admits(url):
                raise UpstreamBad(f"the registry sends on to {_host(url)}, where it may not")
            response = self._ask(url, headers)
            try:
                if not response.is_redirect:
                    yield response
                    return
                url = _next(url, response.headers.get("location", ""))
            finally:
                response.close()
        raise UpstreamBad(f"the registry sends on more than {MOST_REDIRECTS} times")

    def _ask(self, url: str, headers: dict[str, str]) -> httpx.Response:
        try:
            request = self._client.build_request("GET", url, headers=headers)
            return self._client.send(request, stream=True, follow_redirects=False)
        except httpx.TimeoutException as error:
            raise UpstreamDown(f"{_host(url)} does not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamDown(f"{_host(url)} cannot be reached") from error


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "no host"
    except ValueError:
        return "no host"


def _next(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _check(response: httpx.Response, *, start: int, size_bytes: int) -> None:
    """Refuse what is not the asked-for span of a file of that size."""
    status, host = response.status_code, _host(str(response.url))
    if status == TOO_MANY or status >= SERVER_ERROR:
        raise UpstreamDown(f"{host} answers {status}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UpstreamBad(f"{host} packs what was asked for as it is")
    if status == OK and start == 0:
        told = response.headers.get("content-length", str(size_bytes))
        if told != str(size_bytes):
            raise UpstreamBad(f"{host} has {told[:20]} bytes where {size_bytes} belong")
        return
    if status != PARTIAL:
        raise UpstreamBad(f"{host} answers {status} where bytes were asked for")
    span = _SPAN.fullmatch(response.headers.get("content-range", ""))
    if span is None or (int(span[1]), int(span[3])) != (start, size_bytes):
        raise UpstreamBad(f"{host} gives other bytes than were asked for")


def _raw(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()
    except httpx.TimeoutException as error:
        raise UpstreamDown(f"{_host(str(response.url))} sends nothing more") from error
    except httpx.HTTPError as error:
        raise UpstreamDown(f"{_host(str(response.url))} broke off") from error


def _read(response: httpx.Response, most_bytes: int) -> bytes:
    """Read a small body; one that is longer is cut, and then is no manifest any more."""
    found, until = bytearray(), time.monotonic() + WHOLE_S
    for piece in _raw(response):
        found += piece
        if time.monotonic() > until:
            raise UpstreamDown(f"{_host(str(response.url))} does not answer in time")
        if len(found) > most_bytes:
            break
    return bytes(found[: most_bytes + 1])
