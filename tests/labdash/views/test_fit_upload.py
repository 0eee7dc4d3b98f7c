"""Files for "Will it fit?": the header is read in memory, sliced or whole, and nothing is kept."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labdash.env import ROOT
from labdash.planner.gguf import read_header
from labdash.planner.gguf_split import model_of
from labdash.planner.memory.estimate import estimate
from labdash.planner.settings import Settings
from labdash.queries.fit_files import pack, unpack
from tests.labdash.views.polling import text_of

HEADERS = ROOT / "tests" / "fixtures" / "oracle" / "headers"
SCRIPT = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
pytestmark = pytest.mark.django_db


def header(name: str = "qwen3-8b.Q4_K_M") -> bytes:
    return gzip.decompress((HEADERS / f"{name}.gguf.gz").read_bytes())


def send(client: Client, content: bytes, headers: dict[str, str], **fields: Any) -> Any:
    file = SimpleUploadedFile("mine.gguf", content)
    return client.post("/fit/file/", {**fields, "file": file}, headers=headers)


def test_header_becomes_facts_that_a_page_can_be_asked_with(page: Client) -> None:
    told = send(page, header() + b"\0" * 999, SCRIPT, file_bytes="5000000000").json()
    assert told["name"] == "mine.gguf"
    shown = text_of(page.get("/fit/", {"facts": told["facts"]}))
    assert "mine.gguf · Q4_K_M" in shown
    assert "by the 399 tensors that its file lists" in shown


def test_beginning_that_is_too_short_is_asked_for_longer(page: Client) -> None:
    whole = header()
    told = send(page, whole[:1000], SCRIPT, file_bytes=str(len(whole))).json()
    assert 1000 < told["wanted"] <= len(whole)


def test_browser_without_script_is_led_to_the_page_and_keeps_its_form(page: Client) -> None:
    response = send(page, header(), BROWSER, context="16384", kv="q8_0")
    assert response.status_code == 302
    asked = parse_qs(urlsplit(response.headers["Location"]).query)
    assert (asked["context"], asked["kv"]) == (["16384"], ["q8_0"])
    assert "mine.gguf · Q4_K_M" in text_of(page.get(response.headers["Location"]))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "mine.gguf: no GGUF file: it looks like a PNG picture"),
        (header()[:9000], "mine.gguf: this GGUF file is cut: it ends inside its header"),
        (b"x", "mine.gguf: no GGUF file"),
    ],
)
def test_bad_file_gets_one_line_and_keeps_the_form(page: Client, content: bytes, line: str) -> None:
    told = send(page, content, SCRIPT, file_bytes=str(len(content))).json()
    assert told["error"].startswith(line)
    response = send(page, content, BROWSER, context="16384")
    assert response.status_code == 422
    assert line in text_of(response)
    assert 'value="16384"' in text_of(response)


def test_no_file_is_said(page: Client) -> None:
    response = page.post("/fit/file/", {}, headers=BROWSER)
    assert (response.status_code, "the file is empty" in text_of(response)) == (422, True)


def test_no_byte_of_a_file_is_written_to_disk(
    page: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder that does not exist: whoever makes a temporary file fails.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    content = header() + b"\0" * 6 * 2**20
    assert "facts" in send(page, content, SCRIPT, file_bytes=str(len(content))).json()


def test_file_of_a_stranger_is_not_read(stranger: Client) -> None:
    response = send(stranger, header(), SCRIPT)
    assert response.status_code == 302
    assert not hasattr(response.wsgi_request, "upload")


@pytest.mark.parametrize("name", ["gpt-oss-20b.MXFP4", "gemma-3-12b.Q4_K_M", "qwen3-8b.F16"])
def test_facts_of_a_file_give_its_estimate(name: str) -> None:
    read = read_header(header(name))
    packed = pack(read, name=name, file_bytes=None)
    model, again = model_of(read, name=name), unpack(packed).model
    settings = Settings(build=10488, gpu_layers=9)
    assert estimate(again, settings).devices == estimate(model, settings).devices
    assert estimate(again, settings).host == estimate(model, settings).host
    assert len(packed) < 8000


def test_cut_file_is_told_from_a_header_alone() -> None:
    read = read_header(header())
    cut = unpack(pack(read, name="x", file_bytes=read.data_offset + 10**9))
    assert cut.notices == ("truncated: 1.0 of 5.0 GB",)
    assert json.dumps(unpack(pack(read, name="x", file_bytes=None)).notices) == "[]"


def test_numbers_longer_than_any_get_an_answer(page: Client) -> None:
    long = "9" * 5000
    assert send(page, header(), SCRIPT, file_bytes=long).json()["name"] == "mine.gguf"
    response = page.get("/fit/", {"model": "qwen3:8b", "context": long})
    assert response.status_code == 422
    assert "whole number" in text_of(response) or "at most" in text_of(response)
