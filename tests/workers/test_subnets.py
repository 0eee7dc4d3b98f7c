"""Which addresses a look may ask, by the interfaces of a machine."""

from ipaddress import IPv4Interface

import pytest

from workers.subnets import Interface, Plan, plan_look, plan_simulated
from workers.wire.finding import MOST_ADDRESSES, LeftOut, LookedNetwork


def interface(name: str, *addresses: str, is_tunnel: bool = False) -> Interface:
    found = tuple(IPv4Interface(each) for each in addresses)
    return Interface(name=name, addresses=found, is_tunnel=is_tunnel)


def left_out(*interfaces: Interface) -> list[tuple[str, str]]:
    return [(each.name, each.why) for each in plan_look(interfaces).left_out]


def test_every_address_of_a_private_network_is_asked_on_ollamas_port() -> None:
    plan = plan_look([interface("eth0", "192.168.1.7/24")])
    assert len(plan.targets) == 254
    assert plan.targets[0] == ("192.168.1.1", 11434)
    assert plan.targets[-1] == ("192.168.1.254", 11434)
    assert plan.own == {"192.168.1.7"}
    assert plan.networks == (LookedNetwork(network="192.168.1.0/24"),)
    assert plan.left_out == ()


def test_a_large_network_is_cut_to_the_part_around_the_hub_and_that_is_told() -> None:
    plan = plan_look([interface("eth0", "10.3.201.9/8")])
    assert len(plan.targets) == MOST_ADDRESSES
    assert ("10.3.200.1", 11434) in plan.targets
    assert ("10.3.203.254", 11434) in plan.targets
    assert plan.networks == (LookedNetwork(network="10.3.200.0/22", part_of="10.0.0.0/8"),)


def test_several_networks_share_one_limit_and_what_does_not_fit_is_told() -> None:
    small = [interface(f"eth{n}", f"192.168.{n}.1/24") for n in range(4)]
    large = interface("eth9", "10.0.0.9/16")
    plan = plan_look([large, *small])
    assert len(plan.targets) <= MOST_ADDRESSES
    assert [each.network for each in plan.networks][:4] == [f"192.168.{n}.0/24" for n in range(4)]
    assert plan.networks[4] == LookedNetwork(network="10.0.0.8/29", part_of="10.0.0.0/16")
    more = [interface(f"eth{n}", f"192.168.{n}.1/24") for n in range(40)]
    crowded = plan_look(more)
    assert len(crowded.targets) <= MOST_ADDRESSES
    assert crowded.left_out
    assert {each.why for each in crowded.left_out} == {"full"}


def test_two_interfaces_in_one_network_ask_it_once() -> None:
    plan = plan_look([interface("eth0", "10.1.1.2/24"), interface("wlan0", "10.1.1.3/24")])
    assert len(plan.targets) == 254
    assert len(plan.networks) == 1
    assert plan.own == {"10.1.1.2", "10.1.1.3"}


@pytest.mark.parametrize(
    "name", ["docker0", "br-0a1b2c", "veth12", "virbr0", "cni0", "podman1", "flannel.1"]
)
def test_what_leads_only_to_containers_is_left_out_and_told(name: str) -> None:
    inner = interface(name, "172.17.0.1/16")
    assert plan_look([inner]).targets == ()
    assert left_out(inner) == [(name, "virtual")]


def test_a_tunnel_is_left_out_and_told() -> None:
    tunnel = interface("wg0", "10.8.0.2/24", is_tunnel=True)
    assert plan_look([tunnel]).targets == ()
    assert left_out(tunnel) == [("wg0", "tunnel")]


@pytest.mark.parametrize(
    "address", ["8.8.8.8/24", "172.32.0.1/24", "100.64.0.1/24", "169.254.3.1/16", "203.0.113.9/30"]
)
def test_a_network_that_is_not_private_is_never_asked(address: str) -> None:
    public = interface("eth0", address)
    assert plan_look([public]).targets == ()
    assert left_out(public) == [(f"eth0 {address.partition('/')[0]}", "public")]


def test_a_machine_without_ipv4_asks_nothing() -> None:
    assert plan_look([interface("eth0")]) == Plan()
    assert plan_look([]) == Plan()


def test_the_demo_asks_its_own_machines_and_no_network() -> None:
    plan = plan_simulated([("127.0.0.1", 4001), ("192.168.1.20", 11434), ("nas.lan", 11434)])
    assert plan.targets == (("127.0.0.1", 4001),)
    assert plan.networks == ()
    assert plan.is_simulated


def test_what_is_left_out_is_bounded() -> None:
    many = plan_look([interface(f"veth{n}", "10.0.0.1/24") for n in range(500)])
    assert many.left_out == tuple(LeftOut(name=f"veth{n}", why="virtual") for n in range(20))
