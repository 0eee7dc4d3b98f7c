"""The catalog's pages: what the filters leave, what fits the lab, and a family's files."""

import re
from urllib.parse import urlencode

import pytest
from django.test import Client

from labdash.views import catalog
from tests.labdash.views.polling import count_queries, text_of
from tests.labdash.views.sample_lab import add, gpu, reading, sample
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "families"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PATIENCE_S", 60.0)


def shown(client: Client, **asked: str) -> tuple[int, str]:
    """Return the status of the page and its words."""
    response = client.get("/catalog/?" + urlencode(asked))
    return response.status_code, bare(text_of(response)).text


def empty_card(slug: str = "rog", gib: float = 24) -> None:
    add(sample(slug, [gpu(f"GPU-{slug}", 0, "NVIDIA GeForce RTX 3090", gib)], [reading()]))


def test_filters_leave_what_fits_and_say_where(page: Client) -> None:
    empty_card()
    status, text = shown(page, q="qwen3-0.6b", licence="apache-2.0", thinking="on")
    assert status == 200
    assert "1 of 178 models, 1 of them whole on a machine of this lab" in text
    assert "Qwen3-0.6B : whole on rog," in text
    _, other = shown(page, q="qwen3-0.6b", vision="on")
    assert "Nothing in the catalog is so" in other


def test_what_fits_nowhere_whole_is_left_out_where_that_is_asked(page: Client) -> None:
    empty_card(gib=0.5)
    _, text = shown(page, q="tinyllama")
    assert "TinyLlama-1.1B-Chat : in part on rog, " in text
    _, fitting = shown(page, q="tinyllama", fits="on")
    assert "0 of 178 models" in fitting


def test_of_what_the_library_lacks_more_may_be_true(page: Client) -> None:
    text = bare(text_of(page.get("/catalog/family/VibeThinker/"))).text
    assert text.count("Can chat; what else is not known") == 2
    assert "what else is not known" not in text_of(page.get("/catalog/family/Yi/"))


def test_without_a_node_the_way_to_one_is_shown(page: Client) -> None:
    _, text = shown(page, q="tinyllama", fits="on")
    assert "No machine yet Add one , and see here what fits it." in text


def test_without_a_node_nothing_is_promised(page: Client) -> None:
    _, text = shown(page, q="tinyllama")
    assert "1 of 178 models." in text
    assert "TinyLlama-1.1B-Chat : unknown" in text


def test_what_is_not_worked_out_in_time_is_asked_for_again(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "PATIENCE_S", 0.0)
    response = page.get("/catalog/?q=tinyllama", headers=PART)
    html = response.content.decode()
    assert 'hx-get="/catalog/?q=tinyllama" hx-trigger="load, every 5s"' in html
    assert "not worked out yet" in html
    assert "<h1>" not in html


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"size": "7"}, "Choose a size of the list."),
        ({"licence": "none"}, "Choose a licence of the list."),
        ({"q": "a" * 200}, "Search for at most 100 letters."),
    ],
)
def test_a_filter_that_is_none_is_told_in_a_line(
    page: Client, asked: dict[str, str], told: str
) -> None:
    status, text = shown(page, **asked)
    assert status == 422
    assert told in text


def test_a_family_shows_its_files_and_one_that_is_none_is_not_found(page: Client) -> None:
    empty_card()
    response = page.get("/catalog/family/Llama 3.1/")
    text = bare(text_of(response)).text
    assert "Llama-3.1-70B-Instruct" in text
    assert 'title="42520398176 bytes"' in response.content.decode()
    assert "/pulls/new/?model=llama3.1%3A70b" in response.content.decode()
    assert "model=llama3.1%3A70b&amp;quant_floor=Q4_K_M" in response.content.decode()
    # Each file with what becomes of it, and where its size is from.
    assert "Q4_K_M llama3.1:70b 39.6 GiB in part on rog, " in text
    assert "llama3.1:70b: 42,520,398,176 bytes; josh/ollama-models-nix" in text
    assert page.get("/catalog/family/none/").status_code == 404


def test_the_page_asks_little_of_the_database(page: Client) -> None:
    empty_card()
    asked = "/catalog/?q=tinyllama"
    one = count_queries(page, asked)
    empty_card("tower")
    assert count_queries(page, asked) == one


@pytest.mark.parametrize("path", ["/catalog/", "/catalog/new/", "/catalog/family/Yi/"])
def test_the_navigation_shows_where_the_catalog_stands(page: Client, path: str) -> None:
    here = re.findall(r'<a href="([^"]+)" aria-current="page"', page.get(path).content.decode())
    assert here == ["/models/"]


def test_a_stranger_sees_nothing(stranger: Client) -> None:
    for path in ("/catalog/", "/catalog/family/Qwen3/"):
        assert stranger.get(path).headers["Location"].startswith("/sign-in/")
