"""The tour of the guide: from a machine to the file for it."""

import re

import pytest
from django.test import Client

from labdash.guide import CHAPTERS, TOUR
from labdash.models import TourClosed
from labdash.queries.guide_places import usual_places
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
CLOSE = "/guide/tour/close/"


def walk(page: Client, at: str) -> list[str]:
    """Return the pages of the tour, by its own links."""
    url = page.get("/guide/tour/", {"at": at}).headers["Location"]
    pages = []
    while url:
        text = text_of(page.get(url))
        pages.append(text)
        _, found, rest = text.partition('<a class="btn small primary" href="')
        url = rest.partition('"')[0].replace("&amp;", "&") if found else ""
    return pages


def test_tour_for_a_card_of_8_gb_ends_at_the_largest_file_that_fits_it(page: Client) -> None:
    pages = walk(page, "rtx-4060")
    assert len(pages) == len(TOUR)
    assert all(f"stop {number} of 4" in text for number, text in enumerate(pages, start=1))
    assert all("for RTX 4060, 8 GB" in text for text in pages)
    assert "ollama run hf.co/unsloth/Qwen3-8B-GGUF:Q5_K_M" in pages[-1]
    assert "<b>yours: the best that runs well</b>" in pages[1]
    assert "Q6_K above it does not fit whole" in pages[2]
    for text in (pages[0], pages[2]):
        (yours,) = re.findall(r'class="is-yours"><th scope="row">(\w+)<', text)
        assert yours == "Q5_K_M"
        assert "/pulls/new/" not in text.partition('class="is-yours"')[2].partition("</tr>")[0]
        assert re.search(r"<th scope=.row.>Q5_K_M</th>.*?data-label=.here.>fits<", text)
        assert re.search(r"<th scope=.row.>Q6_K</th>.*?data-label=.here.>no<", text)


@pytest.mark.parametrize("place", usual_places(), ids=lambda each: each.key)
def test_tour_leads_to_a_file_on_every_machine(page: Client, place: object) -> None:
    key = next(each.key for each in usual_places() if each is place)
    pages = walk(page, key)
    assert len(pages) == len(TOUR)
    assert "This is your file" in pages[-1]


@pytest.mark.parametrize("at", ["", "nothing", "<b>", "x" * 5000])
def test_machine_that_is_not_there_is_taken_for_a_usual_one(page: Client, at: str) -> None:
    assert "at=rtx-4060" in page.get("/guide/tour/", {"at": at}).headers["Location"]


@pytest.mark.parametrize("number", ["0", "5", "-1", "²", "1" * 400, "x"])
def test_stop_that_is_not_there_shows_the_chapter_alone(page: Client, number: str) -> None:
    assert 'id="tour"' not in text_of(page.get("/guide/memory/", {"tour": number}))


def test_tour_is_closed_for_good_and_can_be_taken_again(page: Client) -> None:
    assert "Start the tour" in text_of(page.get("/guide/"))
    for _ in range(2):
        assert page.post(CLOSE).status_code == 302
    assert TourClosed.objects.count() == 1
    text = text_of(page.get("/guide/"))
    assert "Start the tour" not in text
    assert "Take the tour again" in text


def test_tour_halts_at_chapters_that_are_there() -> None:
    assert set(TOUR) <= {each.slug for each in CHAPTERS}
