"""What the overview asks for every second, and what it gets."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from labdash.live import save_state
from tests.labdash.views.polling import parts, poll, text_of
from tests.labdash.views.sample_lab import add, five_nodes, gpu, process, reading, sample

pytestmark = pytest.mark.django_db


def test_poll_of_an_unchanged_page_is_empty(page: Client) -> None:
    five_nodes()
    answer = poll(page, text_of(page.get("/")))
    assert (answer.status_code, answer.content) == (204, b"")


def test_change_too_small_to_be_shown_is_no_change(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24, power_watts=21.2)], [reading()]))
    shown = text_of(page.get("/"))
    later = sample("rog", [gpu("a", 0, "RTX 3090", 24, power_watts=21.4)], [reading()])
    save_state(later, arrived_at=timezone.now())
    assert poll(page, shown).status_code == 204


def test_poll_brings_the_changed_card_alone_and_then_rests(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/"))
    card = gpu(
        "GPU-tower-0", 0, "NVIDIA GeForce RTX 4070", 12,
        processes=(process(32, "gnome-shell", 1.1),), temperature_celsius=53,
    )  # fmt: skip
    save_state(sample("tower", [card], [reading()]), arrived_at=timezone.now())
    answer = text_of(poll(page, shown))
    assert parts(answer) == ["summary", "node-tower"]
    assert "53 °C" in answer
    assert poll(page, answer).status_code == 204


def test_new_order_of_cards_brings_them_all_once(page: Client) -> None:
    add(sample("ant", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    add(sample("bee", [gpu("b", 0, "RTX 3090", 24)], [reading()]))
    shown = text_of(page.get("/"))
    broken = gpu("b", 0, "RTX 3090", 24, state="lost")
    save_state(sample("bee", [broken], [reading()]), arrived_at=timezone.now())
    answer = text_of(poll(page, shown))
    assert parts(answer) == ["favicon", "summary", "problems", "cards"]
    assert answer.startswith("<title>(1) LabDash</title>")
    assert re.findall(r'<article id="node-(\w+)"', answer) == ["bee", "ant"]
