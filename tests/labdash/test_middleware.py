"""What is answered where the database takes nothing."""

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.test import Client

from tests.factories import make_node

pytestmark = pytest.mark.django_db
ERRORS = [OperationalError("database is locked"), InterfaceError("no room.\nDETAIL: much more")]


@pytest.fixture
def owner() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("owner"))
    return client


@pytest.fixture(params=ERRORS)
def reason(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let pausing a node and listing nodes fail."""

    def fail(*_: object, **__: object) -> None:
        raise request.param

    for name in ("domain.pause_node", "read_nodes"):
        monkeypatch.setattr(f"labdash.views.nodes.{name}", fail)
    return str(request.param).partition("\n")[0].rstrip(".")


def test_button_says_so_in_place(owner: Client, reason: str) -> None:
    node = make_node("rog")
    answer = owner.post(f"/nodes/{node.slug}/pause/", headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert f"Nothing was done: the database takes nothing ({reason})." in answer.content.decode()


def test_form_without_htmx_gets_a_page_that_says_so(owner: Client, reason: str) -> None:
    node = make_node("rog")
    answer = owner.post(f"/nodes/{node.slug}/pause/")
    assert answer.status_code == 503
    assert f"It says: {reason}. Nothing was done" in answer.content.decode()


def test_page_that_cannot_be_read_says_so(owner: Client, reason: str) -> None:
    answer = owner.get("/nodes/")
    assert answer.status_code == 503
    assert reason in answer.content.decode()


def test_other_faults_are_left_to_be_found(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("labdash.views.nodes.read_nodes", fail)
    assert owner.get("/nodes/").status_code == 500
