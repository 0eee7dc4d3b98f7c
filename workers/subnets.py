"""Which addresses of this machine's own networks may be looked through, and which are not."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

import psutil

from workers.wire.finding import (
    MOST_ADDRESSES,
    MOST_NETWORKS,
    OLLAMA_PORT,
    LeftOut,
    LookedNetwork,
)

# What a house may use; not the ranges of carriers, and no addresses that anybody owns.
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
# Interfaces that only lead to containers and virtual machines of this very machine.
VIRTUAL = ("docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxcbr", "lxdbr", "cali")
# With a mask below it, a network has as many addresses as one look may ask.
LEAST_PREFIX = 22
LONGEST_PREFIX = 32


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface that is up. ``is_tunnel``: it leads to one other machine, as a VPN."""

    name: str
    addresses: tuple[IPv4Interface, ...]
    is_tunnel: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a look asks. ``targets`` are addresses with their ports, ``own`` this machine's."""

    targets: tuple[tuple[str, int], ...] = ()
    own: frozenset[str] = frozenset()
    networks: tuple[LookedNetwork, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    is_simulated: bool = False


def read_interfaces() -> tuple[Interface, ...]:
    """Return the interfaces of this machine that are up, but for loopback."""
    states = psutil.net_if_stats()
    found = []
    for name, entries in psutil.net_if_addrs().items():
        state = states.get(name)
        flags = state.flags.split(",") if state else []
        if state is None or not state.isup or "loopback" in flags:
            continue
        addresses = tuple(
            IPv4Interface(f"{each.address}/{each.netmask or LONGEST_PREFIX}")
            for each in entries
            if each.family == socket.AF_INET
        )
        is_tunnel = "pointopoint" in flags
        found.append(Interface(name=name, addresses=addresses, is_tunnel=is_tunnel))
    return tuple(found)


def plan_look(interfaces: Iterable[Interface]) -> Plan:
    """Return what may be looked through: the smallest networks first, a /22 of addresses in all."""
    known = [each for each in interfaces if each.addresses]
    wanted, left_out = _sort_out(known)
    networks: dict[IPv4Network, LookedNetwork] = {}
    targets: dict[str, None] = {}
    for at in sorted(wanted, key=lambda at: (-at.network.prefixlen, at.ip)):
        if any(at.ip in network for network in networks):
            continue
        part = _around(at, most=MOST_ADDRESSES - len(targets))
        if part is None or len(networks) == MOST_NETWORKS:
            left_out.append(LeftOut(name=str(at.network), why="full"))
            continue
        whole = None if part == at.network else str(at.network)
        networks[part] = LookedNetwork(network=str(part), part_of=whole)
        targets |= dict.fromkeys(map(str, part.hosts()))
    return Plan(
        targets=tuple((address, OLLAMA_PORT) for address in targets),
        own=frozenset(str(at.ip) for each in known for at in each.addresses),
        networks=tuple(networks.values()),
        left_out=tuple(left_out[:MOST_NETWORKS]),
    )


def plan_own() -> Plan:
    """Return what may be looked through from this machine."""
    return plan_look(read_interfaces())


def plan_simulated(targets: Iterable[tuple[str, int]]) -> Plan:
    """Return a plan for the demo: its own machines, on loopback, and no network at all."""
    near = tuple(each for each in targets if each[0] == "127.0.0.1")
    return Plan(targets=near, is_simulated=True)


def _sort_out(interfaces: Iterable[Interface]) -> tuple[list[IPv4Interface], list[LeftOut]]:
    wanted: list[IPv4Interface] = []
    left_out: list[LeftOut] = []
    for each in interfaces:
        if each.name.startswith(VIRTUAL):
            left_out.append(LeftOut(name=each.name, why="virtual"))
        elif each.is_tunnel:
            left_out.append(LeftOut(name=each.name, why="tunnel"))
        else:
            private = [at for at in each.addresses if any(at.ip in range_ for range_ in PRIVATE)]
            wanted += private
            public = set(each.addresses) - set(private)
            left_out += [LeftOut(name=f"{each.name} {at.ip}", why="public") for at in public]
    return wanted, left_out


def _around(at: IPv4Interface, *, most: int) -> IPv4Network | None:
    """Return the largest part of a network around an address with at most so many addresses."""
    for prefix in range(max(at.network.prefixlen, LEAST_PREFIX), LONGEST_PREFIX + 1):
        part = IPv4Network((at.ip, prefix), strict=False)
        if sum(1 for _ in part.hosts()) <= most:
            return part
    return None
