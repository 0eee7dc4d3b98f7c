"""Bytes of a file on a server, by HTTP ranges: bounded, and never led to another place."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urljoin, urlsplit

import httpx

from labdash.planner.errors import PlannerError

TIMEOUT = httpx.Timeout(20, connect=10)
MOST_REDIRECTS = 5
# A header with its vocabulary takes up to 25 MiB; no more than this is ever fetched of a file.
MOST_BYTES = 64 * 2**20
# A header is asked for in portions: few of them for a large one, little in vain for a small one.
PORTION_BYTES = 2 * 2**20
# A header that comes drop by drop is given up after this.
DEADLINE_S = 120
PARTIAL, WHOLE, NOT_FOUND, TOO_MANY = 206, 200, 404, 429
REFUSED = frozenset((401, 403))
FAILING = 500
# However long a service asks to be left alone.
LONGEST_WAIT_S = 86_400.0
# What Hugging Face answers to a tag whose model is split into parts.
NOT_ONE_FILE = 400


class NotPublishedError(PlannerError):
    """A service answers, and has no such model or tag."""


class ClosedError(PlannerError):
    """A service answers, and gives this model to signed-in users only."""


class UnreachableError(PlannerError):
    """A service gives no answer now, whatever it is asked; ``wait_s`` is what it asked for."""

    def __init__(self, text: str, *, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Service:
    """A public service: its address, and the hosts that it may send a reader on to.

    A host with a dot before it stands for all below it.
    """

    base: str
    hosts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name the service in a sentence."""
        return urlsplit(self.base).netloc

    def admits(self, url: str) -> bool:
        """Tell whether an address belongs to the service, by scheme, host and port."""
        try:
            parts = urlsplit(url)
            own = urlsplit(self.base)
            port = parts.port
        except ValueError:
            return False
        if parts.username is not None or parts.scheme != own.scheme:
            return False
        host = (parts.hostname or "").lower()
        if host == own.hostname:
            return port == own.port
        return port is None and not _is_address(host) and any(_fits(host, h) for h in self.hosts)


def _fits(host: str, admitted: str) -> bool:
    return host.endswith(admitted) if admitted.startswith(".") else host == admitted


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def fetch(  # noqa: PLR0913 - all but the address have a usual value
    client: httpx.Client,
    service: Service,
    url: str,
    *,
    accept: str = "*/*",
    limit_bytes: int,
    timeout: httpx.Timeout = TIMEOUT,
    deadline_s: float = DEADLINE_S,
) -> bytes:
    """Get a small document. Raises ``PlannerError`` where it is larger than the limit."""
    until = monotonic() + deadline_s
    url, response = _follow(client, service, url, {"Accept": accept}, timeout)
    try:
        return _read(response, limit_bytes, service, until=until)
    finally:
        response.close()


def range_reader(client: httpx.Client, service: Service, url: str) -> Callable[[int, int], bytes]:
    """Return what reads ``(offset, size)`` of a file. Raises ``PlannerError`` past the limit."""
    place, until = url, monotonic() + DEADLINE_S

    def read(at: int, size: int) -> bytes:
        nonlocal place
        if at + size > MOST_BYTES:
            raise PlannerError(
                f"the header of this file is longer than {MOST_BYTES // 2**20} MiB: it is not read"
            )
        place, response = _follow(client, service, place, {"Range": f"bytes={at}-{at + size - 1}"})
        try:
            if response.status_code == PARTIAL:
                return _read(response, size, service, until=until, exact=True)
            # The server ignores ranges: what lies before is read and thrown away.
            return _read(response, at + size, service, until=until, exact=True)[at:]
        finally:
            response.close()

    return read


def _follow(
    client: httpx.Client,
    service: Service,
    url: str,
    headers: dict[str, str],
    timeout: httpx.Timeout = TIMEOUT,
) -> tuple[str, httpx.Response]:
    """Ask, and go where the service sends us as long as that is its own."""
    for _ in range(MOST_REDIRECTS + 1):
        if not service.admits(url):
            host = urlsplit(url).netloc or "no host"
            raise PlannerError(f"{service.name} sends on to {host}, where it may not: not followed")
        response = _ask(client, service, url, headers, timeout)
        if not response.is_redirect:
            _check(response, service)
            return url, response
        response.close()
        url = _next(url, response.headers.get("location", ""), service)
    raise PlannerError(f"{service.name} sends on and on: given up after {MOST_REDIRECTS} times")


def _next(url: str, location: str, service: Service) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise PlannerError(f"{service.name} sends on to where it may not: not followed") from None


def _ask(
    client: httpx.Client,
    service: Service,
    url: str,
    headers: dict[str, str],
    timeout: httpx.Timeout,
) -> httpx.Response:
    try:
        plain = headers | {"Accept-Encoding": "identity"}
        request = client.build_request("GET", url, headers=plain, timeout=timeout)
        return client.send(request, stream=True, follow_redirects=False)
    except httpx.TimeoutException:
        raise UnreachableError(f"{service.name} does not answer in time; try again later") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnreachableError(
            f"{service.name} cannot be reached: without internet, give the model's GGUF file or "
            "choose one of the catalog"
        ) from None


def _check(response: httpx.Response, service: Service) -> None:
    code = response.status_code
    if code in (WHOLE, PARTIAL):
        return
    response.close()
    if code == NOT_FOUND:
        raise NotPublishedError(f"{service.name} has no such model or tag")
    if code in REFUSED:
        raise ClosedError(f"{service.name} gives this model to signed-in users only")
    if code == TOO_MANY:
        text = f"{service.name} was asked too often; try again later"
        raise UnreachableError(text, wait_s=_wait_s(response))
    if code == NOT_ONE_FILE:
        raise PlannerError(
            f"{service.name} does not give this tag as one file: take another, or give its parts"
        )
    text = f"{service.name} answers {code}; try again later"
    if code >= FAILING:
        raise UnreachableError(text, wait_s=_wait_s(response))
    raise PlannerError(text)


def _wait_s(response: httpx.Response) -> float:
    """Read for how long a service wants to be left alone; a date counts for nothing."""
    text = response.headers.get("retry-after", "").strip()
    return min(float(text), LONGEST_WAIT_S) if text.isdecimal() else 0.0


def _read(
    response: httpx.Response,
    limit_bytes: int,
    service: Service,
    *,
    until: float,
    exact: bool = False,
) -> bytes:
    """Read a body up to a limit; more of it is an error unless ``exact`` cuts it there."""
    found = bytearray()
    try:
        for portion in response.iter_bytes():
            found += portion
            if len(found) > limit_bytes:
                break
            if monotonic() > until:
                raise UnreachableError(f"{service.name} sends too slowly; try again later")
    except httpx.HTTPError:
        raise UnreachableError(f"the connection to {service.name} broke off; try again") from None
    if len(found) > limit_bytes and not exact:
        raise PlannerError(f"the answer of {service.name} is too long: not read")
    return bytes(found[:limit_bytes])
