"""Whose word about who asks is taken, and what follows from it."""

import http.client
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from labdash.domain.access import ATTEMPTS_PER_ADDRESS
from labdash.env import ROOT, BadSetting, env_networks
from labdash.proxies import believe_proxies

PROXY, OTHER_PROXY = "10.0.0.2", "fd00::2"
# Tells by the real server what a request is taken for.
TELLING = """
import socket, sys
from ipaddress import ip_network
from django.conf import settings
settings.configure(LABDASH_PROXIES=[ip_network("127.0.0.2")])
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from labdash import serve
from labdash.proxies import believe_proxies
def application(environ, start_response):
    tell = believe_proxies(lambda each: HttpResponse(f"{each.META['REMOTE_ADDR']} {each.scheme}"))
    told = tell(WSGIRequest(environ)).content
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]
serve.make_server(application, [socket.socket(fileno=int(sys.argv[1]))]).run()
"""


@pytest.fixture(autouse=True)
def _proxies(settings: Settings) -> None:
    settings.LABDASH_PROXIES = [ipaddress.ip_network(each) for each in (PROXY, "fd00::/64")]


def taken_for(peer: str, **headers: str) -> tuple[str, str]:
    """Return who is taken to ask, and by which scheme."""
    seen: list[HttpRequest] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    believe_proxies(answer)(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers))
    return seen[0].META["REMOTE_ADDR"], str(seen[0].scheme)


@pytest.mark.parametrize(
    ("forwarded", "asker"),
    [
        ("192.168.1.9", "192.168.1.9"),
        ("fe80::1", "fe80::1"),
        ("1.1.1.1, 192.168.1.9", "192.168.1.9"),
        ("1.1.1.1, 192.168.1.9, fd00::7", "192.168.1.9"),
        ("1.1.1.1, <b>, 192.168.1.9", "192.168.1.9"),
        ("192.168.1.9, unknown", PROXY),
        ("192.168.1.9:4711", PROXY),
        ("", PROXY),
        (",", PROXY),
    ],
)
def test_a_named_proxy_is_believed_up_to_the_first_address_that_is_none(
    forwarded: str, asker: str
) -> None:
    assert taken_for(PROXY, **{"X-Forwarded-For": forwarded}) == (asker, "http")


@pytest.mark.parametrize(
    ("said", "scheme"),
    [("https", "https"), ("http", "http"), ("http, https", "https"), ("ftp", "http"), ("", "http")],
)
def test_a_named_proxy_tells_the_scheme(said: str, scheme: str) -> None:
    assert taken_for(OTHER_PROXY, **{"X-Forwarded-Proto": said}) == (OTHER_PROXY, scheme)


def test_nobody_else_is_believed() -> None:
    headers = {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "https"}
    assert taken_for("10.0.0.3", **headers) == ("10.0.0.3", "http")


@pytest.mark.parametrize(
    ("peer", "said", "is_secure"),
    [(PROXY, "https", True), (PROXY, "http", False), ("10.0.0.3", "https", False)],
)
def test_cookies_of_a_page_by_the_proxys_https_go_by_https_alone(
    peer: str, said: str, is_secure: bool
) -> None:
    def answer(_: HttpRequest) -> HttpResponse:
        made = HttpResponse()
        made.set_cookie("a", "1")
        made.set_cookie("b", "2", httponly=True)
        return made

    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-Proto": said})
    cookies = believe_proxies(answer)(request).cookies
    assert [bool(each["secure"]) for each in cookies.values()] == [is_secure, is_secure]
    assert cookies["b"]["httponly"]


@pytest.mark.parametrize("value", ["proxy.lan", "10.0.0.1/8", "10.0.0.300", "10.0.0.1;10.0.0.2"])
def test_what_is_no_address_is_refused_in_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABDASH_PROXIES", value)
    with pytest.raises(BadSetting, match="LABDASH_PROXIES: write addresses or networks"):
        env_networks("LABDASH_PROXIES")


@pytest.fixture
def port() -> Iterator[int]:
    """Serve as the web process does, behind a proxy at 127.0.0.2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", TELLING, str(listener.fileno())],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
        )
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.kill()
            process.wait()


def test_the_servers_own_headers_reach_who_judges_them(port: int) -> None:
    headers = {"X-Forwarded-For": "192.168.1.9", "X-Forwarded-Proto": "https"}

    def ask(source: str) -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", port, 60, (source, 0))) as connection:
            connection.request("GET", "/", headers=headers)
            return connection.getresponse().read().decode()

    assert ask("127.0.0.2") == "192.168.1.9 https"
    assert ask("127.0.0.3") == "127.0.0.3 http"


def sign_in(address: str, password: str, **more: Any) -> int:
    """Sign in through the proxy as a page of HTTPS does, and return the status."""
    client = Client(enforce_csrf_checks=True, REMOTE_ADDR=PROXY)
    headers = {
        "Host": "lab.lan",
        "X-Forwarded-For": address,
        "X-Forwarded-Proto": "https",
        **more,
    }
    client.get("/sign-in/", headers=headers)
    token = client.cookies["csrftoken"].value
    fields = {"username": "owner", "password": password, "csrfmiddlewaretoken": token}
    return client.post("/sign-in/", fields, headers=headers).status_code


@pytest.mark.django_db
def test_a_form_by_https_is_taken_and_attempts_count_for_the_real_address(
    settings: Settings,
) -> None:
    User.objects.create_superuser("owner", password="correct horse")
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    cache.clear()
    origin = {"Origin": "https://lab.lan"}
    for _ in range(ATTEMPTS_PER_ADDRESS):
        assert sign_in("192.168.1.9", "wrong", **origin) == 422
    assert sign_in("192.168.1.9", "correct horse", **origin) != 302
    assert sign_in("192.168.1.10", "correct horse", **origin) == 302
    settings.LABDASH_PROXIES = []
    assert sign_in("192.168.1.10", "correct horse", **origin) == 403
