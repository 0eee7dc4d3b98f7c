"""Who asks, and by which scheme, where a reverse proxy that the owner named brings the request."""

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

type GetResponse = Callable[[HttpRequest], HttpResponse]
type Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SCHEMES = ("http", "https")


def believe_proxies(get_response: GetResponse) -> GetResponse:
    """Take X-Forwarded-For and X-Forwarded-Proto from LABDASH_PROXIES, and from nobody else."""

    def middleware(request: HttpRequest) -> HttpResponse:
        peer = _address(request.META.get("REMOTE_ADDR", ""))
        if peer is None or not _is_proxy(peer):
            return get_response(request)
        _believe(request, peer)
        response = get_response(request)
        # Not by the hub's own HTTPS: a browser shares cookies among the ports of a name, and would
        # then refuse those of plain HTTP.
        for cookie in response.cookies.values() if request.is_secure() else ():
            cookie["secure"] = True
        return response

    return middleware


def _believe(request: HttpRequest, peer: Address) -> None:
    asker = _asker(peer, request.headers.get("X-Forwarded-For", ""))
    request.META["REMOTE_ADDR"] = str(asker)
    # What the nearest proxy says stands last; those before it may be anybody's.
    scheme = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip()
    if scheme in SCHEMES:
        request.META["wsgi.url_scheme"] = scheme


def _asker(peer: Address, forwarded: str) -> Address:
    """Go back from the nearest proxy to the first address that is none: what is before may lie."""
    for part in reversed(forwarded.split(",")):
        address = _address(part.strip())
        if address is None:
            return peer
        peer = address
        if not _is_proxy(address):
            return peer
    return peer


def _is_proxy(address: Address) -> bool:
    return any(address in network for network in settings.LABDASH_PROXIES)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
