"""Names to pull: the library's usual tags, and repositories where it has none."""

import json
from dataclasses import replace

import pytest

from labdash.catalog.library import is_seen
from labdash.catalog.models import find_model, models
from labdash.env import ROOT
from labdash.planner.file_types import FILE_TYPES
from labdash.queries.guide_commands import hub_file
from labdash.queries.tag_names import hub_name, is_on_hub, library_name, tag_in_sixteen_bits

OFFERS = json.loads((ROOT / "workers" / "simlab" / "data" / "offers.json").read_text())
# Offered by a tag that tells no quant, or that says the usual one otherwise.
QUANT_TAGS = [(tag, quant) for tag, _, quant in OFFERS if "-q" in tag or "fp16" in tag]


@pytest.mark.parametrize(("tag", "quant"), QUANT_TAGS)
def test_tags_are_those_that_a_registry_has(tag: str, quant: str) -> None:
    assert library_name(find_model(tag).model, quant) == tag


@pytest.mark.parametrize(
    ("name", "quant", "tag"),
    [
        ("qwen3:30b", "Q8_0", "qwen3:30b-a3b-q8_0"),
        ("deepseek-r1:8b-llama-distill-q4_K_M", "Q8_0", "deepseek-r1:8b-llama-distill-q8_0"),
        ("qwen3-coder-next", "Q8_0", "qwen3-coder-next:q8_0"),
        ("gpt-oss:20b", "MXFP4_MOE", "gpt-oss:20b-mxfp4"),
        ("qwen3:8b", "F16", "qwen3:8b-fp16"),
        ("granite4.1:8b", "Q6_K", "granite4.1:8b-q6_K"),
        ("mistral:7b", "Q2_K", "mistral:7b-instruct-v0.3-q2_K"),
        ("gemma:7b", "Q8_0", "gemma:7b-instruct-v1.1-q8_0"),
    ],
)
def test_a_tag_is_made_as_the_library_writes_them(name: str, quant: str, tag: str) -> None:
    assert library_name(find_model(name).model, quant) == tag


def test_no_tag_is_named_that_the_library_was_not_seen_to_have() -> None:
    """But of the model's own file, whose full tag holds the same."""
    for known in models():
        named = {quant: library_name(known, quant) for quant in FILE_TYPES}
        unseen = {quant for quant, tag in named.items() if tag and not is_seen(tag)}
        assert unseen <= {known.default_quant, f"{known.default_quant}_MOE"}, known.name


def test_models_that_nobody_looked_for_have_the_usual_tags() -> None:
    own = replace(find_model("qwen3:8b").model, ollama="zap:8b")
    assert library_name(own, "Q8_0") == "zap:8b-q8_0"
    assert library_name(own, "Q6_K") is None


@pytest.mark.parametrize(
    ("name", "quant", "tag"),
    [
        ("qwen3:8b", "F16", "qwen3:8b-fp16"),
        ("qwen3-vl:4b", "BF16", "qwen3-vl:4b-instruct-bf16"),
        ("gpt-oss:20b", "BF16", None),
        ("VibeThinker-3B", "BF16", None),
    ],
)
def test_sixteen_bits_are_those_that_the_library_has(
    name: str, quant: str, tag: str | None
) -> None:
    assert tag_in_sixteen_bits(find_model(name).model) == (quant, tag)


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("qwen3:8b", "Q6_K"),
        ("llama3.1:8b", "IQ3_M"),
        ("qwen3:8b", "BF16"),
        ("gpt-oss:20b", "F16"),
        ("gpt-oss:20b", "Q4_K_M"),
        ("qwen2.5:14b", "Q2_K_S"),
        ("llama3.3:70b", "Q3_K_L"),
    ],
)
def test_what_the_library_hardly_has_is_looked_for_elsewhere(name: str, quant: str) -> None:
    assert library_name(find_model(name).model, quant) is None


def test_a_repository_that_was_asked_for_is_kept() -> None:
    known = find_model("qwen3:8b").model
    assert hub_name(known, "Q6_K", "qwen3:8b") == "hf.co/unsloth/Qwen3-8B-GGUF:Q6_K"
    asked = "hf.co/bartowski/Qwen3-8B-GGUF:Q4_K_M"
    assert hub_name(known, "Q6_K", asked) == "hf.co/bartowski/Qwen3-8B-GGUF:Q6_K"
    assert is_on_hub(asked)
    assert not is_on_hub("qwen3:8b")


@pytest.mark.parametrize(
    ("name", "quant", "repository"),
    [
        ("VibeThinker-3B", "BF16", "prithivMLmods/VibeThinker-3B-GGUF"),
        # One file of the model tells where its others are likely to be.
        ("VibeThinker-3B", "Q4_K_M", "prithivMLmods/VibeThinker-3B-GGUF"),
        ("qwen3:8b", "Q4_K_M", "Qwen/Qwen3-8B-GGUF"),
        ("qwen3:8b", "Q6_K", "unsloth/Qwen3-8B-GGUF"),
    ],
)
def test_file_is_named_where_the_catalog_has_it(name: str, quant: str, repository: str) -> None:
    known = find_model(name).model
    assert hub_name(known, quant, "") == f"hf.co/{repository}:{quant}"
    assert hub_file(known, quant, name).repository == repository


def test_own_entry_from_a_repository_is_pulled_from_it() -> None:
    known = find_model("qwen3:8b").model
    file = replace(known.files[0], file="hf.co/someone/Tiny-GGUF:Q4_K_M", quant="Q4_K_M")
    own = replace(known, ollama="", files=(file,))
    assert hub_name(own, "Q8_0", "") == "hf.co/someone/Tiny-GGUF:Q8_0"
