"""The chapter on formats: its form."""

import re

import pytest
from django.test import Client

from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "answer"}


def test_form_by_htmx_renews_the_table_alone(page: Client) -> None:
    text = text_of(page.get("/guide/formats/?model=qwen3:30b&card=RTX+4090", headers=PART))
    assert "qwen3:30b-a3b-q4_K_M in each format, on NVIDIA GeForce RTX 4090" in text
    assert "<html" not in text


def test_unknown_card_gets_one_line(page: Client) -> None:
    response = page.get("/guide/formats/?card=%3Cb%3E")
    assert response.status_code == 422
    assert "The catalog has no GPU &#x27;&lt;b&gt;&#x27;: write one as RTX 3090" in text_of(
        response
    )


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "Q4_0"])
def test_loss_of_a_type_is_told_as_on_the_page_of_quality(page: Client, quant: str) -> None:
    told = [
        re.findall(r">(\+[\d.]+ %)<", _row(page, chapter, quant))[:1]
        for chapter in ("quality", "formats")
    ]
    assert told[0] == told[1] != []


def _row(page: Client, chapter: str, quant: str) -> str:
    rows: list[str] = re.findall(
        r"<tr[ >].*?</tr>", text_of(page.get(f"/guide/{chapter}/")), re.DOTALL
    )
    return next(row for row in rows if f">{quant}" in row and "%<" in row)
