"""How a look stands by what its worker wrote, and which servers the lab knows already."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.finding import look
from labdash.models import Membership, Node
from labdash.queries.finding import LOOK_KEY, Asked, LookView, read_look
from labdash.queries.lab import read_lab
from tests.factories import make_node, seen
from workers import wire
from workers.wire.finding import KEPT_S, Found, FoundServer
from workers.wire.keys import find_wish_key, found_key

pytestmark = pytest.mark.django_db


def read(*, later_s: float = 0) -> LookView:
    now = timezone.now() + timedelta(seconds=later_s)
    return read_look(read_lab(now=now), now=now)


def begin() -> str:
    """Ask for a look and return its id."""
    look(now=timezone.now())
    return Asked.model_validate_json(str(live.store().get(LOOK_KEY))).find_id


def write(find_id: str, *, ago_s: int = 0, **fields: Any) -> None:
    """Let the worker have written so, so long ago."""
    found = Found.model_validate({"find_id": find_id, "state": "ended", **fields})
    live.store().set(found_key(), found.model_dump_json(), ex=KEPT_S - ago_s)


def known_as(**server: Any) -> str:
    """Return the node that a server is taken for."""
    fields = {"address": "192.168.1.20", **server}
    write(begin(), servers=(FoundServer(**fields),))
    (hit,) = read().hits
    return hit.known_as


def test_nothing_is_known_before_anybody_asked() -> None:
    assert read() == LookView(state="none")


def test_a_look_waits_for_its_worker_and_is_given_up_after_ten_seconds() -> None:
    begin()
    assert read().state == "waiting"
    assert read().is_active
    assert read(later_s=11).state == "mute"


def test_a_look_that_was_stopped_before_it_began_is_no_fault_of_the_worker() -> None:
    begin()
    live.store().delete(find_wish_key())
    assert read().state == "stopped"


def test_what_its_worker_tells_is_shown_sorted_by_address() -> None:
    servers = [FoundServer(address=f"10.0.0.{n}") for n in (10, 9, 2)]
    write(begin(), state="looking", looked_at=512, total=1022, servers=servers)
    view = read()
    assert view.state == "looking"
    assert view.found
    assert (view.found.looked_at, view.found.total) == (512, 1022)
    assert [hit.server.address for hit in view.hits] == ["10.0.0.2", "10.0.0.9", "10.0.0.10"]


def test_a_worker_that_says_nothing_more_is_silent_by_the_age_of_its_last_word() -> None:
    find_id = begin()
    write(find_id, state="looking", ago_s=3)
    assert read().state == "looking"
    write(find_id, state="looking", ago_s=9)
    assert read().state == "silent"
    write(find_id, state="ended", ago_s=300)
    assert read().state == "ended"


def test_what_was_found_earlier_is_not_taken_for_this_look() -> None:
    write(begin(), total=7)
    begin()
    assert read() == LookView(state="waiting")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"find_id": 1}', "[" * 5000, "\x00"])
def test_what_makes_no_sense_is_nothing(text: str) -> None:
    begin()
    live.store().set(found_key(), text)
    assert read().state == "waiting"


@pytest.mark.usefixtures("dead_store")
def test_a_store_that_is_away_is_told() -> None:
    assert read().state == "away"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Attic-PC.fritz.box", "attic-pc"),
        (None, "ollama-20"),
        ("localhost", "ollama-20"),
        ("--", "ollama-20"),
        ("<script>", "script"),
    ],
)
def test_a_server_is_offered_under_a_name_that_a_node_may_have(name: str | None, slug: str) -> None:
    write(begin(), servers=(FoundServer(address="192.168.1.20", host_name=name),))
    (hit,) = read().hits
    assert (hit.slug, hit.url) == (slug, "http://192.168.1.20:11434")
    Node(slug=hit.slug).full_clean()


def test_a_server_is_known_by_the_address_or_the_name_under_which_it_is_listed() -> None:
    make_node("mac", urls=["http://192.168.1.20:11434"], agentless=True)
    make_node("nas", urls=["http://nas.lan:11434"], agentless=True)
    assert known_as() == "mac"
    assert known_as(port=11435) == ""
    assert known_as(address="192.168.1.21") == ""
    assert known_as(address="192.168.1.21", host_name="NAS.lan") == "nas"


def test_a_machine_that_joined_is_known_by_where_it_joined_from_or_by_what_it_is_called() -> None:
    attic = make_node("attic")
    Membership.objects.create(node=attic, password_hash="x", address="192.168.1.20")
    make_node("rog")
    seen("rog", host=wire.HostReading(hostname="ROG"))
    assert known_as() == "attic"
    assert known_as(address="192.168.1.30") == ""
    assert known_as(address="192.168.1.30", host_name="rog.fritz.box") == "rog"
    assert known_as(address="192.168.1.30", host_name="tower.fritz.box") == ""


def test_the_hubs_own_server_is_known_as_the_node_that_starts_with_it() -> None:
    make_node("hub", started_with="http://127.0.0.1:11434")
    assert known_as(is_own=True) == "hub"
    assert known_as(is_own=False) == ""
