"""By which addresses neighbours may find this machine."""

import ipaddress
import socket
from collections.abc import Iterator

import psutil

from workers.config import NodeConfig
from workers.wire.origins import MOST_HOSTS

# Networks that exist on one machine alone.
_INNER = ("docker", "br-", "veth", "virbr", "cni", "flannel", "lxc", "lxd", "podman", "vEthernet")


def own_addresses(config: NodeConfig) -> tuple[str, ...]:
    """Return them, those of home networks first; a model's name holds none of IPv6."""
    if config.mirror_host is not None:
        return (config.mirror_host,)
    found = sorted(set(_addresses()), key=lambda each: (not each.is_private, each))
    return tuple(str(each) for each in found)[:MOST_HOSTS]


def _addresses() -> Iterator[ipaddress.IPv4Address]:
    states = psutil.net_if_stats()
    for name, entries in psutil.net_if_addrs().items():
        if name.startswith(_INNER) or (name in states and not states[name].isup):
            continue
        for entry in entries:
            if entry.family == socket.AF_INET:
                address = ipaddress.IPv4Address(entry.address)
                if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                    yield address
