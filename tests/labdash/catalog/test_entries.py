"""Entries that somebody brings: taken whole, or refused in one line that names the key."""

import json
from typing import Any

import pytest

from labdash.catalog.entries import read_entries
from labdash.catalog.files import read_lines
from labdash.catalog.models import find_model, models
from labdash.catalog.own import own_rows, take
from labdash.planner.errors import PlannerError

SHAPE = {
    "block_count": 36,
    "context_length": 40960,
    "embedding_length": 4096,
    "vocab_size": 151936,
    "feed_forward_length": 12288,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
}
ENTRY: dict[str, Any] = {
    "name": "Home-8B",
    "family": "Home",
    "arch": "qwen3",
    "capabilities": ["chat"],
    "metadata": SHAPE,
}
FILE = {"quant": "Q4_K_M", "bytes": 5_000_000_000, "file": "hf.co/me/Home-8B-GGUF:Q4_K_M"}


def test_what_labdash_comes_with_would_be_taken() -> None:
    rows = read_lines("models.jsonl")
    lines = "\n".join(json.dumps(row) for row in rows)
    assert read_entries(lines) == tuple(rows)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ENTRY),
        json.dumps([ENTRY], indent=2),
        "\ufeff" + json.dumps({"models": [ENTRY]}),
        f"{json.dumps(ENTRY)}\n\n",
    ],
)
def test_a_file_may_be_one_entry_a_list_or_lines(text: str) -> None:
    (row,) = read_entries(text)
    assert {key: row[key] for key in ENTRY} == ENTRY
    assert (row["hf_repo"], row["files"]) == ("Home-8B", [])


@pytest.mark.parametrize("name", ["Tiny Home", "Command-R (08-2024)", "a" * 100, "Größe+1"])
def test_what_is_kept_of_an_entry_can_be_read_again(name: str) -> None:
    kept = read_entries(json.dumps({**ENTRY, "name": name}))
    assert read_entries(json.dumps(kept[0])) == kept


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"licence": "mit"}, "entry 1 (Home-8B): there is no key licence: did you mean license?"),
        ({"name": "a:b"}, "entry 1 (a:b): name is written like Qwen3-8B, not 'a:b'"),
        ({"capabilities": ["chats"]}, "entry 1 (Home-8B): capabilities knows no chats: there are"),
        ({"params_total": True}, "entry 1 (Home-8B): params_total is a whole number above 0"),
        ({"released": "2025-13-01"}, "entry 1 (Home-8B): released is written like 2025-04-28"),
        ({"latest": True}, "entry 1 (Home-8B): latest says which tag a bare name means"),
        ({"ollama": "home"}, "entry 1 (Home-8B): ollama is written like qwen3:8b, not 'home'"),
        ({"license": "a\nb"}, "entry 1 (Home-8B): license is one line of at most 80 letters"),
        (
            {"metadata": {"qwen3.block_count": 3}},
            "entry 1 (Home-8B): metadata.qwen3.block_count holds no fact of the shape: write",
        ),
        (
            {"metadata": {**SHAPE, "block_count": 10**6}},
            "entry 1 (Home-8B): metadata: qwen3.block_count is 1000000, which no model has",
        ),
        (
            {"metadata": {**SHAPE, "rope.freq_base": 10**400}},
            "entry 1 (Home-8B): metadata.rope.freq_base is a number, a word, true or false, or a",
        ),
        (
            {"metadata": {**SHAPE, "attention.head_count_kv": [8, 8]}},
            "entry 1 (Home-8B): metadata: qwen3.attention.head_count_kv lists 2 of 36 layers",
        ),
        (
            {"files": [{**FILE, "byte": 1}]},
            "entry 1 (Home-8B): files[0]: there is no key byte: did you mean bytes?",
        ),
        (
            {"metadata": {**SHAPE, "word": "\ud800"}},
            "entry 1 (Home-8B): metadata.word is a number, a word",
        ),
        ({"files": [{"file": "x"}]}, "entry 1 (Home-8B): files[0]: the key bytes is missing"),
        ({"files": [{**FILE, "bytes": 0}]}, "entry 1 (Home-8B): files[0]: bytes is a whole number"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(PlannerError) as refused:
        read_entries(json.dumps({**ENTRY, **change}))
    assert str(refused.value).startswith(told)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "this file is empty"),
        ("\ufeff\r\n", "this file is empty"),
        ("{", "this file is no JSON"),
        ("[]", "this file has no entry"),
        ("[3]", "entry 1 is no object"),
        ("[" * 100_000, "this file nests too deeply"),
        ('{"name": NaN}', "this file is no JSON: NaN is no number"),
        ('{"name": "a", "name": "b"}', "this file is no JSON: an object has a key of name twice"),
        ('{"name": "a"}', "entry 1 (a): the key family is missing"),
        (f"{json.dumps(ENTRY)}\n{{", "line 2 is no JSON"),
        (
            f"{json.dumps(ENTRY)}\n\n{json.dumps({**ENTRY, 'name': 'home-8b'})}",
            "line 1 and line 3 have the name home-8b: leave one of them out",
        ),
        (
            json.dumps([{**ENTRY, "name": n, "ollama": "home:8b"} for n in "ab"]),
            "entry 1 and entry 2 have the ollama home:8b",
        ),
    ],
)
def test_what_is_no_catalog_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(PlannerError) as refused:
        read_entries(text)
    assert str(refused.value).startswith(told)
    assert len(str(refused.value).splitlines()) == 1


def test_an_own_entry_stands_in_place_of_one_of_its_name_until_it_is_gone() -> None:
    before, kept = models(), own_rows()
    mine = {**ENTRY, "name": "Qwen3-14B", "ollama": "qwen3:14b", "latest": True}
    take((*kept, *read_entries(json.dumps([mine, ENTRY]))))
    try:
        assert find_model("qwen3").model.name == "Qwen3-14B"
        assert find_model("qwen3:14b-q8_0").model.own
        assert find_model("hf.co/me/Home-8B-GGUF:Q6_K").model.name == "Home-8B"
        assert len(models()) == len(before) + 1
    finally:
        take(kept)
    assert models() == before
    assert find_model("qwen3").model.name == "Qwen3-8B"
