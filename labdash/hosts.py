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
# Names that no stranger can make lead to this hub: .local is answered by the house's own machines,
# .lan and .home.arpa by its router, and what is under .ts.net by Tailscale, also in the public DNS.
_NAMES = ("localhost", ".localhost", ".local", ".lan", ".home.arpa", ".ts.net")


def is_ours(host: str) -> bool:
    """Tell whether a Host header names this hub."""
    domain, _ = split_domain_port(host)
    if not domain:
        return False
    if (address := _address(domain)) is not None:
        return (
            any(address in network for network in _NETWORKS)
            or _is_of_this_machine(address)
            or any(
                pattern == "*" or _address(pattern) == address
                for pattern in settings.LABDASH_ALLOWED_HOSTS
            )
        )
    return validate_host(domain, [*_NAMES, *machine_names(), *settings.LABDASH_ALLOWED_HOSTS])


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address means the machine that asks, whichever that is."""
    if (address := _address(host)) is not None:
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _is_of_this_machine(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an interface here has this address: the system lets only such be bound."""
    if address.is_unspecified or address.is_multicast:
        return False
    family = socket.AF_INET if isinstance(address, ipaddress.IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


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
