"""Under which names the hub answers."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from labdash import hosts
from labdash.hosts import is_ours
from labdash.runner.listening import addresses


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8642",
        "LOCALHOST",
        "lab.localhost",
        "127.0.0.1:8642",
        "127.8.9.1",
        "[::1]:8642",
        "10.1.2.3",
        "172.31.0.1:80",
        "192.168.178.20:8642",
        "100.64.0.1",
        "100.127.255.254",
        "169.254.1.1",
        "[fd12:3456::1]:8642",
        "[fe80::1]",
        "lab.local",
        "lab.lan:8642",
        "hub.home.arpa",
        "hub.tail1234.ts.net",
        "lab.local.",
        socket.gethostname(),
        f"{socket.gethostname().upper()}:8642",
    ],
)
def test_names_and_addresses_of_a_house_are_ours(host: str) -> None:
    assert is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-local",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "192.169.0.1",
        "[2001:db8::1]",
        "[2001:4860:4860::8888]:8642",
        "ts.net.evil.example",
    ],
)
def test_every_other_name_is_not(host: str) -> None:
    assert not is_ours(host)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("lab.example", "lab.example:8642"),
        (".example", "a.b.example"),
        ("8.8.4.4", "8.8.4.4"),
        ("2001:db8::1", "[2001:db8::1]:8642"),
        ("[2001:DB8::1]", "[2001:db8:0::1]"),
        ("*", "evil.example"),
        ("*", "8.8.8.8"),
    ],
)
def test_a_setting_admits_further_names(settings: Settings, allowed: str, host: str) -> None:
    settings.LABDASH_ALLOWED_HOSTS = []
    assert not is_ours(host)
    settings.LABDASH_ALLOWED_HOSTS = [allowed]
    assert is_ours(host)


@pytest.mark.parametrize("path", ["/", "/healthz", "/static/labdash.css", "/admin/"])
def test_a_foreign_name_gets_a_page_that_names_the_setting(path: str) -> None:
    answer = Client().get(path, headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "'evil.example'" in answer.text
    assert "LABDASH_ALLOWED_HOSTS" in answer.text
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("host", ["a b", "x/y", "[::1", "ex<script>", "a,b", ":80", "a:b:c"])
def test_a_broken_host_gets_a_page_and_no_traceback(host: str) -> None:
    answer = Client().get("/healthz", headers={"host": host})
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize("host", [None, "0.0.0.0", "::", "127.0.0.1", "::1"])  # noqa: S104 - told
def test_every_address_that_a_start_prints_is_answered_to(host: str | None) -> None:
    for address in addresses(host, 8642):
        answer = Client().get("/healthz", headers={"host": urlsplit(address).netloc})
        assert answer.status_code == 200, address


def test_addresses_of_this_machine_are_ours_in_whatever_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "_NETWORKS", ())
    assert is_ours("127.0.0.1:8642")
    assert not is_ours("192.0.2.1")
    assert not is_ours("0.0.0.0")  # noqa: S104 - no address of a machine
    assert not is_ours("224.0.0.1")
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        assert is_ours("[::1]:8642")
    assert not is_ours("[2001:db8::1]")
