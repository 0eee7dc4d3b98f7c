"""Who has not signed in sees nothing but the doors; who has is answered everywhere."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.labdash.views.polling import POLL
from tests.labdash.views.sample_lab import five_nodes

OPEN = {"sign_in", "set_up", "reset", "healthz"}
# By HTTPS alone, see test_join.py; the first is a page that shows nothing of the lab.
JOINING = {"join", "join_script", "join_redeem", "join_archive", "join_wheels", "join_wheel"}
SERVER_ERROR = 500
pytestmark = pytest.mark.django_db


def routes(
    patterns: list[URLPattern | URLResolver] | None = None, before: str = ""
) -> Iterator[tuple[str, str | None]]:
    """Yield every address of the site with values in its gaps, and its name."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern.name


def address(route: str) -> str:
    """Fill the gaps of a route."""
    filled = route.replace("<slug:slug>", "rog").replace("<int:pk>", "1")
    for gap in ("<path:object_id>", "<int:content_type_id>", "<path:url>"):
        filled = filled.replace(gap, "1")
    if filled.startswith("admin/(") or "(?P" in filled:
        filled = "admin/anything"
    return "/" + filled.strip("^$").replace("/?", "")


CLOSED = [address(route) for route, name in routes() if name not in OPEN | JOINING]


def test_there_are_closed_addresses_to_walk() -> None:
    assert len(CLOSED) > 30


def test_closed_pages_lead_to_the_sign_in(stranger: Client) -> None:
    five_nodes()
    for url in CLOSED:
        for response in (stranger.get(url), stranger.post(url)):
            assert response.status_code == 302, url
            assert response.headers["Location"].startswith(("/sign-in/", "/admin/login/")), url
            assert b"rog" not in response.content, url


def test_closed_pages_answer_who_signed_in(page: Client) -> None:
    five_nodes()
    statuses = {url: page.get(url).status_code for url in CLOSED}
    assert {url: status for url, status in statuses.items() if status >= SERVER_ERROR} == {}
    assert statuses["/planner/"] == statuses["/nodes/rog/"] == 200


def test_admin_has_no_sign_in_of_its_own(stranger: Client) -> None:
    response = stranger.get("/admin/login/?next=/admin/labdash/node/")
    assert response.headers["Location"] == "/sign-in/?next=/admin/labdash/node/"


def test_poll_of_a_stranger_sends_the_whole_page_to_the_sign_in(stranger: Client) -> None:
    headers = {**POLL, "HX-Current-URL": "http://testserver/nodes/rog/?span=24h"}
    response = stranger.get("/nodes/rog/?v=x", headers=headers)
    assert response.status_code == 200
    assert response.headers["HX-Redirect"] == "/sign-in/?next=%2Fnodes%2Frog%2F%3Fspan%3D24h"
    assert response.content == b""


def test_poll_cannot_be_led_elsewhere_by_its_page_address(stranger: Client) -> None:
    headers = {**POLL, "HX-Current-URL": "https://evil.example//evil.example/x"}
    response = stranger.get("/", headers=headers)
    signed_in = stranger.post(
        response.headers["HX-Redirect"], {"username": "owner", "password": "correct horse"}
    )
    assert signed_in.headers["Location"] == "/"


def test_healthz_says_ok_and_no_more(stranger: Client) -> None:
    for url in ("/healthz", "/healthz/"):
        response = stranger.get(url)
        assert (response.status_code, response.content) == (200, b"ok")
        assert "Set-Cookie" not in response.headers


def test_page_that_does_not_exist_tells_a_stranger_nothing(stranger: Client) -> None:
    response = stranger.get("/nodes-of-the-lab/")
    assert response.status_code == 404
    assert b"Sign out" not in response.content
