"""Chapters on memory, quality and names: what is asked in the address, and what is refused."""

import pytest
from django.test import Client

from tests.labdash.views.polling import text_of
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "answer"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/guide/memory/?size=70B&context=32768", "280.0 GB"),
        ("/guide/memory/?model=qwen3:8b", "qwen3:8b: "),
        ("/guide/quality/?quant=Q3_K_M", "Q3_K_M has"),
        ("/guide/names/?name=qwen3:8b-q4_K_M", "the quant: how the weights are stored"),
        ("/guide/names/?name=Zap-Q4_K_M.gguf", "Which model this is LabDash does not know."),
    ],
)
def test_what_is_chosen_stands_in_the_address(page: Client, address: str, said: str) -> None:
    whole = page.get(address)
    assert whole.status_code == 200
    assert said in bare(text_of(whole)).text
    part = text_of(page.get(address, headers=PART))
    assert said in bare(part).text
    assert "<form" not in part


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("/guide/memory/?size=seven", "Write a number of parameters such as 7B"),
        ("/guide/memory/?context=ten", "Write the context in tokens"),
        ("/guide/memory/?model=nosuch:1b", "The catalog has no model"),
        ("/guide/quality/?quant=Q9", "is no quant that llama-quantize makes"),
        ("/guide/names/?model=nosuch:1b", "The catalog has no model"),
    ],
)
def test_bad_input_gets_one_line(page: Client, address: str, line: str) -> None:
    response = page.get(address)
    assert response.status_code == 422
    assert line in text_of(response).replace("&quot;", '"')


def test_search_finds_a_section_by_its_words(page: Client) -> None:
    text = text_of(page.get("/guide/?q=imatrix"))
    assert 'href="/guide/names/#letters"' in text
