"""By which addresses a machine finds another one."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from labdash.hosts import is_loopback
from labdash.models import Instance, Membership
from workers.wire.origins import MOST_HOSTS

# The name of a model holds no address of IPv6.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,252}")
_HERE = "127.0.0.1"


def hosts_of(giver: Instance, receiver: Instance, told: Iterable[str]) -> tuple[str, ...]:
    """Return addresses of a giver in the order in which its receiver should try them.

    First by which it joined, then those by which its owner or it itself calls it. An address that
    means whoever asks is one only where both are on one machine.
    """
    found = [host for host in _known(giver, told) if _HOST.fullmatch(host)]
    hosts = [host for host in found if not is_loopback(host)]
    if _is_same_machine(giver, receiver):
        hosts = [*hosts[: MOST_HOSTS - 1], _HERE] if hosts else [_HERE]
    return tuple(dict.fromkeys(hosts))[:MOST_HOSTS]


def _known(giver: Instance, told: Iterable[str]) -> Iterator[str]:
    joined = Membership.objects.filter(node=giver.node_id).values_list("address", flat=True)
    yield from joined
    yield urlsplit(giver.url).hostname or ""
    # A node must not lead another one anywhere: it tells addresses of networks, and no names.
    yield from filter(_is_address, told)


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


def _is_same_machine(giver: Instance, receiver: Instance) -> bool:
    """Tell whether both run on one machine, as all that is started with the hub does."""
    if giver.node_id == receiver.node_id:
        return True
    is_here = bool(receiver.node.started_with)
    if receiver.node.agentless:
        is_here = is_loopback(urlsplit(receiver.url).hostname or "")
    return is_here and bool(giver.node.started_with)
