"""The page that finds machines in the network."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from labdash import live
from tests.factories import make_node, orders
from tests.labdash.queries.test_finding import begin, write
from tests.labdash.views.polling import parts, poll, text_of
from workers.wire.finding import FoundServer, LeftOut, LookedNetwork
from workers.wire.keys import find_wish_key

URL = "/find-machines/"
HTMX = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


def shown(page: Client) -> str:
    return text_of(page.get(URL))


def server(address: str = "192.168.1.20", **fields: Any) -> FoundServer:
    return FoundServer(address=address, **fields)


def test_nothing_is_looked_for_until_somebody_presses_the_button(page: Client) -> None:
    opened = shown(page)
    assert "Look for Ollama" in opened
    assert poll(page, opened).status_code == 204
    assert page.get(f"{URL}look/").status_code == 302
    assert page.get(f"{URL}?look=1").status_code == 200
    assert orders("@hub") == []


def test_the_button_asks_the_worker_on_the_hub_once(page: Client) -> None:
    opened = shown(page)
    answer = page.post(f"{URL}look/", headers=HTMX)
    assert (answer.status_code, answer["HX-Trigger"]) == (204, "tick")
    page.post(f"{URL}look/", headers=HTMX)
    assert len(orders("@hub")) == 1
    polled = poll(page, opened)
    assert "look" in parts(text_of(polled))
    assert "Asking the worker on the hub…" in text_of(polled)


def test_progress_and_hits_are_shown_as_they_come_with_a_button_that_stops(page: Client) -> None:
    make_node("mac", urls=["http://192.168.1.21:11434"], agentless=True)
    find_id = begin()
    opened = shown(page)
    hits = (server(host_name="attic.lan", version="0.9.1"), server("192.168.1.21"))
    write(find_id, state="looking", looked_at=512, total=1022, servers=hits)
    told = text_of(poll(page, opened))
    assert "looked at 512 of 1022 addresses" in told
    assert 'href="/add-machine/?slug=attic"' in told
    assert 'href="/add-node/?slug=attic&amp;url=http%3A//192.168.1.20%3A11434"' in told
    assert 'already, as <a href="/nodes/mac/">mac</a>' in told
    assert "0.9.1" in told
    page.post(f"{URL}stop/", headers=HTMX)
    assert not live.store().exists(find_wish_key())
    write(find_id, state="stopped", looked_at=600, total=1022, servers=hits)
    ended = shown(page)
    assert "Look again" in ended
    assert "stopped 600 of 1022 addresses looked at" in ended
    assert "attic.lan" in ended


def test_links_of_a_hit_fill_in_the_forms(page: Client) -> None:
    machine = text_of(page.get("/add-machine/?slug=attic"))
    assert 'name="slug" value="attic"' in machine
    address = text_of(page.get("/add-node/?slug=attic&url=http%3A//192.168.1.20%3A11434"))
    assert 'name="slug" value="attic"' in address
    assert 'name="url" value="http://192.168.1.20:11434"' in address


def test_it_is_told_which_networks_were_looked_through_and_which_not(page: Client) -> None:
    networks = (
        LookedNetwork(network="192.168.1.0/24"),
        LookedNetwork(network="10.3.200.0/23", part_of="10.0.0.0/8"),
    )
    names = {"docker0": "virtual", "wg0": "tunnel", "eth1 8.8.8.8": "public", "10.9.0.0/24": "full"}
    left_out = [LeftOut.model_validate({"name": name, "why": why}) for name, why in names.items()]
    write(begin(), total=764, looked_at=764, networks=networks, left_out=left_out)
    told = " ".join(shown(page).split())
    assert "192.168.1.0/24, 10.3.200.0/23 (the part of 10.0.0.0/8 around this hub)." in told
    for reason in (
        "only to containers and virtual machines of this machine: docker0.",
        "since they are tunnels: wg0.",
        "since they are not private: eth1 8.8.8.8.",
        "since 1022 addresses are looked at in all: 10.9.0.0/24.",
        "IPv6 is not looked through.",
        "No Ollama answers there.",
    ):
        assert reason in told


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "late", "looked_at": 9, "total": 90}, "It was ended after 20 s."),
        ({"state": "failed"}, "The look failed."),
        ({"state": "looking", "ago_s": 60}, "went silent in the middle"),
        ({"state": "ended"}, "in no private IPv4 network"),
        ({"state": "ended", "is_simulated": True}, "Only the simulated machines were asked."),
        ({"has_more": True, "servers": (server(),)}, "There are more than are shown here."),
        ({"servers": (server(is_own=True),)}, "this hub"),
    ],
)
def test_how_it_ended_is_told_in_one_line(page: Client, fields: Any, text: str) -> None:
    write(begin(), **fields)
    assert text in shown(page)
    assert "Look again" in shown(page)


def test_a_worker_that_does_not_begin_is_told(page: Client) -> None:
    live.store().set("hub:find", '{"find_id": "x", "asked_at": "2026-01-01T00:00:00Z"}')
    assert "The worker on the hub did not begin." in shown(page)


@pytest.mark.usefixtures("dead_store")
def test_a_store_that_is_away_is_told_in_place(page: Client) -> None:
    assert "nothing can be looked for now" in shown(page)
    answer = page.post(f"{URL}look/", headers=HTMX)
    assert answer.status_code == 422
    assert "The store does not answer" in text_of(answer)


def test_what_a_stranger_on_the_network_says_is_text_on_the_page(page: Client) -> None:
    evil = "</td><script>alert(1)</script>"
    write(begin(), servers=(server(host_name=evil),))
    assert "<script>alert" not in shown(page)
    assert "&lt;script&gt;alert(1)" in shown(page)


def test_the_demo_says_that_no_network_is_looked_through(page: Client, settings: Settings) -> None:
    settings.DEMO = True
    assert "never looks through your network" in shown(page)


@pytest.mark.parametrize("url", ["/add-machine/", "/add-node/", "/", "/nodes/"])
def test_pages_on_which_machines_are_added_lead_here(page: Client, url: str) -> None:
    assert f'href="{URL}"' in text_of(page.get(url))


def test_an_overview_with_one_machine_leads_here_and_one_with_two_does_not(page: Client) -> None:
    make_node("rog")
    assert f'href="{URL}"' in text_of(page.get("/"))
    make_node("attic")
    assert f'href="{URL}"' not in text_of(page.get("/"))
