"""An entry of one's own: out of a header, a saved show or an address, kept and taken away."""

import json
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from pytest_django.fixtures import Settings

from labdash.catalog.models import find_model
from labdash.planner.gguf import read_header
from labdash.planner.gguf_split import model_of
from labdash.planner.model import Model
from labdash.planner.stock import stock_model
from labdash.queries import own_catalog
from labdash.queries.catalog_making import plain_address
from labdash.sources.registry import PREFIXES
from tests.labdash.sources.test_registry import registry
from tests.labdash.views.polling import text_of
from tests.labdash.views.test_fit_upload import SCRIPT, header, send
from tests.labdash.views.test_overview import bare

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_entries")]
TOLD = {"name": "House-8B", "family": "House", "license": "mit", "capabilities": ["chat", "tools"]}


def show_of(model: Model) -> dict[str, Any]:
    """Write a model as Ollama's answer to /api/show tells it."""
    keys = {key: value for key, value in model.metadata.items() if isinstance(value, str | int)}
    tensors = [
        {"name": each.name, "type": each.type.upper(), "shape": list(each.shape)}
        for each in model.tensors
    ]
    return {
        "details": {"quantization_level": "Q4_K_M"},
        "model_info": keys,
        "tensors": tensors,
        "capabilities": ["completion", "tools", "insert", "thinking"],
    }


def test_a_header_becomes_an_entry_of_exactly_its_size_until_it_is_removed(page: Client) -> None:
    facts = send(page, header(), SCRIPT, file_bytes="5000000000").json()["facts"]
    shown = bare(text_of(page.get("/catalog/new/", {"facts": facts}))).text
    assert "exact : the planner makes the same tensors of its shape" in shown
    kept = page.post("/catalog/keep/", {"facts": facts, **TOLD})
    assert kept.headers["Location"] == "/catalog/family/House/"
    known = find_model("house-8b").model
    made = stock_model("", known.metadata, "Q4_K_M", tied=bool(known.tied))
    assert made.weight_bytes == model_of(read_header(header()), name="").weight_bytes
    family = bare(text_of(page.get("/catalog/family/House/"))).text
    assert "House-8B yours" in family
    assert "1 of 179 models" in text_of(page.get("/catalog/?own=on"))
    page.post("/catalog/remove/", {"name": "House-8B"})
    assert page.get("/catalog/family/House/").status_code == 404


def keep(page: Client, content: bytes, **told: object) -> HttpResponse:
    """Keep what a header says of itself, and somebody of it."""
    facts = send(page, content, SCRIPT, file_bytes="5000000000").json()["facts"]
    response = page.post("/catalog/keep/", {"facts": facts, **TOLD, **told})
    assert isinstance(response, HttpResponse)
    return response


def test_what_takes_the_place_of_another_does_so_when_that_was_meant(page: Client) -> None:
    refused = keep(page, header(), name="qwen3-14b")
    assert refused.status_code == 422
    assert "Qwen3-14B comes with LabDash: tick below to put this in its place, also for" in text_of(
        refused
    )
    assert not find_model("qwen3:14b").model.own
    assert keep(page, header(), name="Qwen3-14B", replace="on").status_code == 302
    assert find_model("qwen3:14b-q8_0").model.own
    assert "is an entry of yours already" in text_of(keep(page, header(), name="Qwen3-14B"))


def test_what_is_put_in_anothers_place_is_found_by_its_tag(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry() as (service, _):
        monkeypatch.setattr("labdash.queries.catalog_making.ollama_registry", lambda: service)
        sent = {"model": "qwen3:8b-q8_0", **TOLD, "name": "Qwen3-8B", "replace": "on"}
        assert page.post("/catalog/keep/", sent).status_code == 302
    assert find_model("qwen3:8b").model.own
    assert find_model("qwen3:8b-q8_0").model.own


@pytest.mark.parametrize("name", ["Tiny Home", "Größe (2)", "a" * 80])
def test_any_name_that_is_taken_can_be_kept(page: Client, name: str) -> None:
    assert keep(page, header(), name=name).status_code == 302
    assert own_catalog.entries_trouble() == ""
    assert find_model(name).model.own
    # Ollama takes no such name, so there is nothing to plan it by.
    shown = page.get("/catalog/family/House/").content.decode()
    assert ("/planner/new/" in shown) == (name == "a" * 80)
    assert ("/planner/new/" in page.get("/catalog/?own=on").content.decode()) == (name == "a" * 80)


def test_what_is_told_of_an_own_entry_can_be_changed(page: Client) -> None:
    keep(page, header())
    before = find_model("House-8B").model
    shown = page.get("/catalog/edit/", {"name": "House-8B"}).content.decode()
    assert 'value="House"' in shown
    assert 'value="mit"' in shown
    told = {"name": "house-8b", "family": "Home", "license": "", "capabilities": ["chat", "code"]}
    response = page.post("/catalog/change/", told)
    assert response.headers["Location"] == "/catalog/family/Home/"
    after = find_model("House-8B").model
    assert (after.family, after.license, after.capabilities) == ("Home", None, ("chat", "code"))
    assert after.metadata == before.metadata
    wrong = page.post("/catalog/change/", {**told, "family": "a/b", "license": "kept"})
    assert wrong.status_code == 422
    assert "family is written like Qwen3, not 'a/b'." in unescape(bare(text_of(wrong)).text)
    assert 'value="kept"' in wrong.content.decode()


def test_what_is_no_own_entry_cannot_be_changed(page: Client) -> None:
    for name in ("Qwen3-8B", "none", ""):
        assert page.get("/catalog/edit/", {"name": name}).status_code == 404
        told = {"name": name, "family": "Home", "capabilities": ["chat"]}
        shown = page.post("/catalog/change/", told, follow=True)
        assert "is no entry of yours any more." in text_of(shown)
    assert find_model("qwen3:8b").model.family == "Qwen3"


def test_a_saved_show_is_read_whole(page: Client) -> None:
    content = json.dumps(show_of(model_of(read_header(header()), name="mine"))).encode()
    file = SimpleUploadedFile("mine.json", content[:1000])
    asked = {"file": file, "file_bytes": str(len(content))}
    assert page.post("/fit/file/", asked, headers=SCRIPT).json() == {"wanted": len(content)}
    facts = send(page, content, SCRIPT, file_bytes=str(len(content))).json()["facts"]
    assert "36 layers" in text_of(page.get("/catalog/new/", {"facts": facts}))
    # Of a file one ticks oneself what it can; a show tells it.
    ticked = page.get("/catalog/new/", {"facts": facts}).context["form"].initial["capabilities"]
    assert ticked == ("chat", "tools", "thinking")
    damaged = send(page, content[:-9], SCRIPT, file_bytes=str(len(content) - 9)).json()
    assert damaged["error"].startswith("mine.gguf: it is no JSON: ")


def test_without_script_a_bad_file_is_told_where_it_was_chosen(page: Client) -> None:
    file = SimpleUploadedFile("bad.gguf", b"GGUX" * 9)
    response = page.post("/fit/file/", {"file": file, "for": "catalog"}, follow=True)
    assert response.redirect_chain == [("/catalog/new/", 302)]
    assert "bad.gguf: no GGUF file" in text_of(response)


def test_an_address_is_read_once_and_its_file_known_to_the_byte(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry() as (service, asked):
        monkeypatch.setitem(PREFIXES, "hf.co/", service)
        address = "https://hf.co/someone/Tiny-GGUF:Q4_K_M"
        shown = text_of(page.get("/catalog/new/", {"model": address}))
        assert 'value="Tiny"' in page.get("/catalog/new/", {"model": address}).content.decode()
        assert "hf.co/someone/Tiny-GGUF:Q4_K_M" in shown
        page.post("/catalog/keep/", {"model": address, **TOLD})
    assert sum("/manifests/" in each for each in asked) == 1
    known = find_model("hf.co/someone/Tiny-GGUF:Q8_0").model
    (file,) = known.files
    assert (known.name, known.hf_repo) == ("House-8B", "someone/Tiny")
    assert (file.file, file.projector_bytes) == ("hf.co/someone/Tiny-GGUF:Q4_K_M", 77)


@pytest.mark.parametrize(
    ("pasted", "name"),
    [
        ("  qwen3:8b\n", "qwen3:8b"),
        ("ollama run  hf.co/me/Tiny-GGUF:Q4_0", "hf.co/me/Tiny-GGUF:Q4_0"),
        ("https://ollama.com/library/qwen3:8b", "qwen3:8b"),
        ("ollama.com/someone/mine", "someone/mine"),
        ("https://huggingface.co/me/Tiny-GGUF/?show=1", "huggingface.co/me/Tiny-GGUF"),
        (
            "https://huggingface.co/me/Tiny-GGUF/blob/main/Tiny-UD-Q4_K_XL.gguf",
            "huggingface.co/me/Tiny-GGUF:UD-Q4_K_XL",
        ),
        (
            "hf.co/me/Big-GGUF/resolve/main/Q8_0/Big-Q8_0-00001-of-00002.gguf?download=true",
            "hf.co/me/Big-GGUF:Q8_0",
        ),
        ("hf.co/me/Tiny-GGUF/tree/main", "hf.co/me/Tiny-GGUF"),
    ],
)
def test_what_people_paste_is_taken_for_the_address_in_it(pasted: str, name: str) -> None:
    assert plain_address(pasted) == name


def test_the_demo_says_that_it_has_no_headers(page: Client, settings: Settings) -> None:
    settings.DEMO = True
    for address in ("qwen3:8b", "hf.co/me/Tiny-GGUF:Q4_0"):
        response = page.get("/catalog/new/", {"model": address})
        assert "The simulated lab has no header to read: choose a file" in text_of(response)
        assert f'value="{address}"' in response.content.decode()


def test_of_an_unheard_of_architecture_no_file_is_asked_that_was_given(page: Client) -> None:
    content = header().replace(b"qwen3.", b"zwen3.").replace(b"qwen3", b"zwen3", 1)
    facts = send(page, content, SCRIPT, file_bytes="5000000000").json()["facts"]
    shown = bare(text_of(page.get("/catalog/new/", {"facts": facts}))).text
    assert "It can be listed and not estimated: the tensors of zwen3 are not known" in shown
    assert "give the model's GGUF file" not in unescape(shown)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"model": "hf.co/../x"}, "'hf.co/../x' is no name of a model: write qwen3:14b or hf.co/"),
        ({"facts": "eJw"}, "What this page kept of the file is damaged: choose the file again."),
        ({"model": "a" * 400}, "Ensure this value has at most 350 characters"),
    ],
)
def test_what_is_no_model_is_told_in_a_line(page: Client, sent: dict[str, str], told: str) -> None:
    for response in (page.get("/catalog/new/", sent), page.post("/catalog/keep/", sent | TOLD)):
        assert response.status_code == 422
        assert told in unescape(bare(text_of(response)).text)


def test_a_name_that_cannot_be_one_keeps_what_was_written(page: Client) -> None:
    facts = send(page, header(), SCRIPT, file_bytes="5000000000").json()["facts"]
    response = page.post("/catalog/keep/", {"facts": facts, **TOLD, "name": "a/b"})
    assert response.status_code == 422
    text = text_of(response)
    assert "name is written like Qwen3-8B, not 'a/b'." in unescape(bare(text).text)
    assert 'value="House"' in response.content.decode()
