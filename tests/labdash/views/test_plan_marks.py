"""The mark of the plan in force on the bars of the overview and of a node."""

import pytest
from django.test import Client

from tests.labdash.queries.test_plan_marks import item, lab
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db


def test_bar_draws_the_mark_and_tells_it_in_words(page: Client) -> None:
    item(lab("qwen3:8b"), "qwen3:8b", 12)
    for url in ("/", "/nodes/rog/"):
        shown = text_of(page.get(url))
        assert '<path class="mark-line" d="M500 0v16"/>' in shown
        assert "; models as planned 12.0 GiB" in shown


def test_bar_has_no_mark_without_a_plan(page: Client) -> None:
    lab("qwen3:8b")
    assert "mark-line" not in text_of(page.get("/"))
