"""Where servers are reached from other machines, and what no line to copy may hold."""

import ast
import json
import shlex
from typing import Any

import pytest
from django.utils import timezone

from labdash.models import Membership, Node
from labdash.queries.addresses import Address, AddressesView, read_addresses
from tests.factories import GIB, loaded, make_installed, make_node, ollama, seen
from workers import wire

LAN = "192.168.1.20"
pytestmark = pytest.mark.django_db


def read(asked_by: str = "192.168.1.2:8642") -> AddressesView:
    return read_addresses(asked_by=asked_by, now=timezone.now())


def only(asked_by: str = "192.168.1.2:8642") -> Address:
    (address,) = read(asked_by).addresses
    return address


def join(node: Node, address: str = LAN) -> None:
    Membership.objects.create(node=node, password_hash="x", address=address)


def test_a_server_of_a_joined_machine_is_reached_whence_it_joined() -> None:
    join(make_node())
    seen(instances=(ollama(listens="network"),))
    address = only()
    assert (address.url, address.openai_url) == (f"http://{LAN}:11434", f"http://{LAN}:11434/v1")
    assert (address.reach, address.is_measured) == ("open", True)


def test_an_address_of_six_groups_stands_in_brackets() -> None:
    join(make_node(), "fd00::20")
    assert only().url == "http://[fd00::20]:11434"


def test_a_server_on_the_hub_is_reached_as_the_page_is() -> None:
    make_node(started_with="http://127.0.0.1:11434")
    make_node("mac", agentless=True, urls=["http://localhost:11435"])
    assert [each.url for each in read().addresses] == [
        "http://192.168.1.2:11435",
        "http://192.168.1.2:11434",
    ]


def test_an_address_that_somebody_gave_is_that() -> None:
    make_node(agentless=True, urls=["https://mac.lan"])
    assert only().url == "https://mac.lan"


@pytest.mark.parametrize(
    ("hostname", "url"),
    [
        ("attic.lan", "http://attic.lan:11434"),
        ("localhost", ""),
        (None, ""),
        ("$(reboot)", ""),
        ("a'; reboot; '", ""),
        ("a\nb", ""),
        ("-x", ""),
    ],
)
def test_a_host_name_is_taken_only_where_it_is_one(hostname: str | None, url: str) -> None:
    make_node()
    seen(host=wire.HostReading(hostname=hostname))
    assert only().url == url
    assert (only().openai_url == "") == (url == "")


@pytest.mark.parametrize(
    ("node", "reading", "age_s", "reach"),
    [
        ({}, {"listens": "network"}, 0, "open"),
        ({}, {"listens": "loopback"}, 0, "closed"),
        ({}, {}, 0, "unknown"),
        ({}, {"listens": "network", "state": "refused"}, 0, "down"),
        ({}, {"listens": "network"}, 3600, "down"),
        # The hub itself reaches it over the network.
        ({"agentless": True, "urls": [f"http://{LAN}:11434"]}, {}, 0, "open"),
        ({"agentless": True}, {}, 0, "unknown"),
    ],
)
def test_whether_others_reach_it_is_measured_or_not_known(
    node: dict[str, Any], reading: dict[str, Any], age_s: float, reach: str
) -> None:
    make_node(**node)
    seen(instances=(ollama(**reading),), age_s=age_s)
    assert only().reach == reach


def test_a_server_that_never_reported_is_down() -> None:
    make_node()
    assert only().reach == "down"


def test_what_nobody_reaches_is_left_out_of_the_lines_for_all() -> None:
    for slug, listens in (("attic", "network"), ("rog", "loopback"), ("tower", None)):
        join(make_node(slug), f"192.168.1.{len(slug)}")
        seen(slug, instances=(ollama(listens=listens),))
    shown = read()
    setting = "OLLAMA_BASE_URLS=http://192.168.1.5:11434;http://192.168.1.5:11434"
    assert shlex.split(shown.lines[0].text) == [setting]
    assert setting in shlex.split(shown.lines[1].text)
    assert [each.instance.node.slug for each in shown.left_out] == ["rog"]


def test_without_any_there_is_no_line() -> None:
    make_node()
    seen(instances=(ollama(listens="loopback"),))
    assert read().lines == ()
    Node.objects.all().delete()
    assert read().addresses == ()


def test_examples_name_a_model_that_is_there() -> None:
    node = make_node()
    join(node)
    instance = node.instances.get()
    for name, size_gib in (("big:70b", 40), ("small:1b", 1), ("mid:8b", 5)):
        make_installed(instance, name, size_bytes=size_gib * GIB)
    make_installed(instance, "tiny:cloud", size_bytes=300, is_cloud=True)
    assert only().models == ("big:70b", "mid:8b", "small:1b")
    assert all("small:1b" in line.text for line in only().lines)
    seen(instances=(ollama(loaded=(loaded("mid:8b"),)),))
    assert all("mid:8b" in line.text for line in only().lines)


def test_examples_are_python_and_shell() -> None:
    node = make_node()
    join(node)
    make_installed(node.instances.get(), "qwen3:8b")
    by_ollama, by_openai, curl = (line.text for line in only().lines)
    for text in (by_ollama, by_openai):
        ast.parse(text)
    assert f'host="http://{LAN}:11434"' in by_ollama
    assert f'base_url="http://{LAN}:11434/v1"' in by_openai
    program, url, option, body = shlex.split(curl)
    assert (program, url, option) == ("curl", f"http://{LAN}:11434/api/chat", "-d")
    assert json.loads(body)["model"] == "qwen3:8b"


@pytest.mark.parametrize(
    "name", ["x'; reboot; '", "$(reboot)", 'x"+exit()+"', "`id`", "a\nb", "-x"]
)
def test_a_name_that_would_do_something_is_in_no_line(name: str) -> None:
    node = make_node()
    join(node)
    make_installed(node.instances.get(), name)
    assert only().lines == ()
    assert only().models == (name,)
    make_installed(node.instances.get(), "qwen3:8b")
    assert all(name not in line.text for line in only().lines)
