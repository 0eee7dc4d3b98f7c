"""Each row of the guide's tables ends in something to do: a pull, a plan, or lines to copy."""

import re
from collections import Counter
from urllib.parse import unquote

import pytest
from django.test import Client
from django.urls import reverse

from labdash.catalog.library import is_seen
from labdash.guide import CHAPTERS, Chapter
from labdash.queries.tag_names import is_on_hub
from tests.factories import make_node, ollama, seen
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
PULLED = re.compile(r"/pulls/new/\?model=([^\"&]+)|ollama pull ([^\s<”]+)(?=[<\n])")
ACT = re.compile('data-copy="|>Pull here<')


def rows_of(text: str) -> list[str]:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    return [row for body in bodies for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]


@pytest.mark.parametrize(
    "address", ["formats/", "formats/?model=gpt-oss:20b", "start/", "mistakes/"]
)
def test_every_row_ends_in_something_to_do(page: Client, address: str) -> None:
    rows = rows_of(text_of(page.get(f"/guide/{address}")))
    assert rows
    assert [row for row in rows if not ACT.search(row)] == []


def test_server_that_nobody_else_reaches_is_told_by_its_own_machines_address(page: Client) -> None:
    make_node("rog")
    seen("rog", instances=(ollama(listens="loopback"),))
    (row, *_) = rows_of(text_of(page.get("/guide/start/?at=rog")))
    assert ">http://127.0.0.1:11434/v1<" in row
    assert "on its own machine" in row
    assert 'href="/addresses/#open"' in row


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda each: each.slug)
def test_each_button_copies_from_one_place(page: Client, chapter: Chapter) -> None:
    text = text_of(page.get(reverse(chapter.url_name)))
    ids = Counter(re.findall(r'\sid="([^"]*)"', text))
    assert [name for name, count in ids.items() if count > 1] == []
    assert [name for name in re.findall(r'data-copy="([^"]*)"', text) if name not in ids] == []


def test_page_says_which_size_it_took_for_a_bare_name(page: Client) -> None:
    text = text_of(page.get("/guide/start/", {"model": "llama3.2"}))
    assert "(no size was given: llama3.2:3b is taken)" in text


@pytest.mark.parametrize("address", ["hardware/?at=phone-8", "hardware/?at=phone-6", "one-model/"])
def test_phone_is_given_names_that_its_apps_know(page: Client, address: str) -> None:
    text = text_of(page.get(f"/guide/{address}"))
    names = re.findall(r">([^<]*)</code><button[^>]*>Copy the name", text)
    assert names
    assert [name for name in names if not name.startswith("hf.co/")] == []


def test_files_of_one_label_are_pulled_one_by_one(page: Client) -> None:
    rows = rows_of(text_of(page.get("/guide/mistakes/")))
    found = {
        size: [re.findall(r"/pulls/new/\?model=([^\"]*)", row) for row in rows if size in row]
        for size in ("5,027,783,488", "5,225,374,496")
    }
    assert found == {
        "5,027,783,488": [["hf.co%2FQwen%2FQwen3-8B-GGUF%3AQ4_K_M"]],
        "5,225,374,496": [["qwen3%3A8b"]],
    }


@pytest.mark.parametrize(
    "address",
    [
        *(f"{each.slug}/" for each in CHAPTERS),
        "names/?name=gpt-oss:20b",
        "names/?name=qwen2.5:14b",
        "names/?name=qwen3:30b-a3b-q4_K_M",
        "one-model/?model=qwen3:8b",
        "one-model/?model=llama3.3:70b",
        "memory/?model=qwen3:4b",
    ],
)
def test_no_button_pulls_a_tag_that_the_library_lacks(page: Client, address: str) -> None:
    text = text_of(page.get(f"/guide/{address}"))
    found = PULLED.findall(text)
    names = {unquote(button or command) for button, command in found}
    assert names
    assert [name for name in names if not is_on_hub(name) and not is_seen(name)] == []
