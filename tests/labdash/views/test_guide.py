"""The guide's frame: contents, search, tour, and what every chapter keeps to."""

import gzip

import pytest
from django.test import Client
from django.urls import reverse

from labdash.guide import CHAPTERS, Chapter
from labdash.queries.guide import headings
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
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


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda each: each.slug)
def test_chapter_opens_within_its_weight(page: Client, chapter: Chapter) -> None:
    response = page.get(reverse(chapter.url_name))
    assert response.status_code == 200
    text = text_of(response)
    assert f"<h1>{chapter.title}</h1>" in text
    assert all(f'id="{each.anchor}"' in text for each in headings(chapter))
    assert len(gzip.compress(response.content)) < MOST_BYTES / 2


def test_machine_of_the_reader_is_carried_to_other_chapters(page: Client) -> None:
    text = text_of(page.get("/guide/memory/", {"at": "chip-apple-m2-16-gb"}))
    assert 'href="/guide/hardware/?at=chip-apple-m2-16-gb"' in text
    assert 'href="/guide/quality/?at=chip-apple-m2-16-gb"' in text
    assert "<script>" not in text_of(page.get("/guide/memory/", {"at": "<script>"}))
