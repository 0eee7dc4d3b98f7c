"""Which names this hub answers to: a page elsewhere must not reach it by rebinding its own name."""

import ipaddress
import socket
from functools import cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host

# Loopback, private, link-local, and the range of carriers and of Tailscale: nobody outside can
# own such an address, so no page from outside can be served under it.
_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
# Names that are resolved inside a house or a tailnet, never by the public DNS.
_NAMES = ("localhost", ".localhost", ".local", ".lan", ".home.arpa", ".ts.net")


def is_ours(host: str) -> bool:
    """Tell whether a Host header names this hub."""
    domain, _ = split_domain_port(host)
    if not domain:
        return False
    if (address := _address(domain)) is not None:
        return any(address in network for network in _NETWORKS) or any(
            pattern == "*" or _address(pattern) == address
            for pattern in settings.LABDASH_ALLOWED_HOSTS
        )
    return validate_host(domain, [*_NAMES, *machine_names(), *settings.LABDASH_ALLOWED_HOSTS])


@cache
def machine_names() -> tuple[str, ...]:
    """Return what this machine calls itself, in small letters."""
    names = (socket.gethostname(), socket.getfqdn())
    return tuple({name.lower() for name in names if name})


def _address(domain: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        return None
