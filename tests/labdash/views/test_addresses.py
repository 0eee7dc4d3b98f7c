"""The page of addresses."""

import pytest
from django.test import Client

from labdash.models import Membership
from tests.factories import make_installed, make_node, ollama, seen
from tests.labdash.views.polling import count_queries, text_of

pytestmark = pytest.mark.django_db


def add(slug: str, **reading: object) -> None:
    node = make_node(slug)
    Membership.objects.create(node=node, password_hash="x", address="192.168.1.20")
    make_installed(node.instances.get(), "qwen3:8b")
    seen(slug, instances=(ollama(**reading),))


def test_page_lists_addresses_models_and_lines_to_copy(page: Client) -> None:
    add("rog", listens="network")
    shown = text_of(page.get("/addresses/"))
    assert "open to the network" in shown
    assert ">http://192.168.1.20:11434/v1<" in shown
    assert "1 model: qwen3:8b" in shown
    assert 'id="webui-run"' in shown
    assert "Ollama has no password." in shown
    assert shown.count("data-copy=") == 2 + 3 + 2 + 3
    assert "/addresses/" in text_of(page.get("/nodes/"))


def test_page_says_what_keeps_others_out_and_how_to_open_it(page: Client) -> None:
    add("rog", listens="loopback")
    shown = text_of(page.get("/addresses/"))
    assert "it listens on the loopback address alone" in shown
    assert "None of them is open to the network." in shown
    assert "Left out, since other machines do not reach it: rog/ollama." in shown
    assert "systemctl restart ollama" in shown


def test_page_of_an_empty_lab_says_what_to_do(page: Client) -> None:
    assert "No Ollama server is known yet" in text_of(page.get("/addresses/"))


def test_number_of_queries_is_the_same_for_any_number_of_nodes(page: Client) -> None:
    counts = []
    for slug in ("a", "b", "c"):
        add(slug, listens="network")
        counts.append(count_queries(page, "/addresses/"))
    assert counts[0] == counts[2] <= 15
