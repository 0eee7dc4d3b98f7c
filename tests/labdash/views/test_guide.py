"""The guide's frame: contents, search, tour, and what every chapter keeps to."""

import gzip

import pytest
from django.test import Client
from django.urls import reverse

from labdash.guide import CHAPTERS, TOUR, Chapter
from labdash.models import TourClosed
from labdash.queries.guide import headings
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
CLOSE = "/guide/tour/close/"
# All that a page of the guide may weigh with everything on it, as design says.
MOST_BYTES = 60 * 1024


def test_contents_lead_to_every_chapter(page: Client) -> None:
    text = text_of(page.get("/guide/"))
    assert all(f'href="{reverse(each.url_name)}"' in text for each in CHAPTERS)


def test_search_that_finds_nothing_says_what_to_try(page: Client) -> None:
    assert "Nothing found" in text_of(page.get("/guide/?q=zzyzx"))


def test_search_by_htmx_answers_with_what_was_found_alone(page: Client) -> None:
    part = text_of(
        page.get("/guide/?q=zzyzx", headers={"HX-Request": "true", "HX-Target": "found"})
    )
    assert "Nothing found" in part
    assert "<html" not in part


def test_tour_is_closed_for_good(page: Client) -> None:
    assert "Start the tour" in text_of(page.get("/guide/"))
    for _ in range(2):
        assert page.post(CLOSE).status_code == 302
    assert TourClosed.objects.count() == 1
    assert "Start the tour" not in text_of(page.get("/guide/"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda each: each.slug)
def test_chapter_opens_within_its_weight(page: Client, chapter: Chapter) -> None:
    response = page.get(reverse(chapter.url_name))
    assert response.status_code == 200
    text = text_of(response)
    assert f"<h1>{chapter.title}</h1>" in text
    assert all(f'id="{each.anchor}"' in text for each in headings(chapter))
    assert len(gzip.compress(response.content)) < MOST_BYTES / 2


def test_tour_shows_the_ladder_of_a_model_that_small_cards_hold(page: Client) -> None:
    before = text_of(page.get("/guide/quality/", {"tour": "2"}))
    assert "/guide/names/?tour=3&amp;model=qwen3%3A8b#ladder" in before
    assert 'value="qwen3:8b"' in text_of(page.get("/guide/names/", {"model": "qwen3:8b"}))


def test_tour_halts_at_sections_that_are_there() -> None:
    for stop in TOUR:
        chapter = next(each for each in CHAPTERS if each.slug == stop.slug)
        assert stop.anchor in {each.anchor for each in headings(chapter)}
