"""A GPU and its owner: amounts that are kept, and the card given back."""

import re

import pytest
from django.test import Client

from labdash.models import Gpu
from tests.labdash.views.polling import poll, text_of
from tests.labdash.views.sample_lab import GIB
from tests.labdash.views.test_overview import bare
from tests.labdash.views.test_planner import lab

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def url(after: str = "") -> str:
    return f"/planner/gpus/{Gpu.objects.get().pk}/{after}"


def test_page_shows_what_is_kept(page: Client) -> None:
    lab()
    Gpu.objects.update(reserve_bytes=2 * GIB, margin_bytes=GIB // 2, game_bytes=4 * GIB)
    shown = text_of(page.get(url()))
    assert re.findall(r'name="(\w+)" value="([\d.]+)"', shown) == [
        ("reserve", "2.0"),
        ("margin", "0.5"),
        ("game", "4.0"),
    ]
    assert "The plan may use it" in shown


def test_amounts_are_stored_in_bytes_and_may_be_left_out(page: Client) -> None:
    lab()
    sent = {"reserve": "1.5", "margin": "", "game": "6"}
    response = page.post(url(), sent)
    assert (response.status_code, response.headers["Location"]) == (302, "/planner/")
    row = Gpu.objects.get()
    assert (row.reserve_bytes, row.margin_bytes) == (int(1.5 * GIB), None)
    assert row.game_bytes == 6 * GIB
    page.post(url(), {"reserve": "0", "margin": "0", "game": ""})
    row = Gpu.objects.get()
    assert (row.reserve_bytes, row.margin_bytes, row.game_bytes) == (0, 0, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reserve": ""}, "Write 0 where nothing is kept."),
        ({"reserve": "25"}, "That is more than the card has: 25.8 GiB of 24.0 GiB."),
        ({"game": "25"}, "Other programs cannot take that much: the card has 24.0 GiB."),
        ({"margin": "-1"}, "Write a number of GiB from 0 to 4096."),
        ({"game": "5000"}, "Write a number of GiB from 0.1 to 4096."),
        ({"reserve": "nan"}, "Write a number of GiB from 0 to 4096."),
    ],
)
def test_amount_that_cannot_be_is_told_and_nothing_is_lost(
    page: Client, changes: dict[str, str], said: str
) -> None:
    lab()
    response = page.post(url(), {"reserve": "0", "margin": "0.75", "game": "", **changes})
    assert response.status_code == 422
    shown = text_of(response)
    assert said in shown
    assert Gpu.objects.get().reserve_bytes == 0


def test_button_gives_the_card_back_and_takes_it_again(page: Client) -> None:
    lab()
    shown = text_of(page.get(url()))
    response = page.post(url("give-back/"), headers=HTMX)
    assert (response.status_code, response.headers["HX-Trigger"]) == (204, "tick")
    assert "Given back to its owner" in text_of(poll(page, shown))
    for where in ("/", "/nodes/rog/"):
        assert 'title="Given back to its owner">given back</span>' in text_of(page.get(where))
    assert page.post(url("take-back/")).headers["Location"] == url()
    assert not Gpu.objects.get().given_back


def test_card_that_a_game_uses_cannot_be_taken(page: Client) -> None:
    lab()
    Gpu.objects.update(game_on=True, game_bytes=4 * GIB)
    assert "until other programs hold less again" in bare(text_of(page.get(url())))
    response = page.post(url("take-back/"), headers=HTMX)
    assert response.status_code == 422
    assert "it comes back by itself" in text_of(response)
