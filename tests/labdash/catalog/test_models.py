"""The catalog's models: complete, with sources, and found by the names that people write."""

import pytest

from labdash.catalog.models import CatalogModel, find_model, models
from labdash.planner.errors import PlannerError

# No source gave their shape.
WITHOUT_SHAPE = {"snowflake-arctic-embed-l-v2.0", "moondream2"}
SHAPE = (
    "block_count",
    "context_length",
    "embedding_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
)


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "qwen3-coder:480b-Cloud", "any:cloud"])
def test_what_runs_in_a_cloud_is_no_model_of_the_catalog(name: str) -> None:
    with pytest.raises(PlannerError) as refused:
        find_model(f" {name}")
    assert str(refused.value).startswith(f"{name} runs in Ollama's cloud and takes no memory here")


def test_every_model_is_there_once() -> None:
    names = [model.name for model in models()]
    assert (len(names), len(set(names))) == (178, 178)


def lacks(model: CatalogModel) -> bool:
    """Whether a model lacks a fact that the planner needs."""
    keys = set() if model.name in WITHOUT_SHAPE else {f"{model.arch}.{key}" for key in SHAPE}
    return not (model.source and model.capabilities and keys <= model.metadata.keys())


def test_each_model_has_what_the_planner_needs_and_a_source() -> None:
    assert [model.name for model in models() if lacks(model)] == []


def test_each_file_has_a_size_and_a_source() -> None:
    files = [file for model in models() for file in model.files]
    assert len(files) == 206
    assert [file for file in files if not file.source or file.bytes < 10_000_000] == []


def test_what_sees_has_more_than_its_language_model() -> None:
    """The library lists what a family can: its smallest sizes are often of text alone."""
    blind = [
        model.name
        for model in models()
        if "vision" in model.capabilities
        and (model.params_check or "").startswith("exact")
        and not any(file.projector_bytes for file in model.files)
    ]
    assert blind == []


def test_each_model_has_a_licence_and_a_number_of_parameters() -> None:
    assert [m.name for m in models() if not (m.license and m.params_total)] == []


def test_lists_have_an_entry_for_each_block() -> None:
    lengths = {
        (model.name, key): (len(value), model.metadata[f"{model.arch}.block_count"])
        for model in models()
        for key, value in model.metadata.items()
        if isinstance(value, tuple)
    }
    assert lengths
    assert {key: pair for key, pair in lengths.items() if pair[0] != pair[1]} == {}


@pytest.mark.parametrize(
    ("tag", "sizes"),
    [
        ("llama3.1:70b", {"Q4_K_M": 42_520_398_176}),
        ("qwen3:8b", {"Q4_K_M": 5_225_374_496}),
        ("gpt-oss:20b", {"MXFP4": 13_780_154_624}),
    ],
)
def test_published_sizes_are_those_of_the_registry(tag: str, sizes: dict[str, int]) -> None:
    files = {file.quant: file.bytes for file in find_model(tag).model.files if file.file == tag}
    assert files == sizes


@pytest.mark.parametrize(
    ("text", "name", "quant"),
    [
        ("Qwen3:14B", "Qwen3-14B", None),
        ("llama3.1:8b-instruct-q4_K_M", "Llama-3.1-8B-Instruct", "Q4_K_M"),
        ("library/gemma3:27b-it-fp16", "Gemma-3-27B-it", "F16"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:IQ4_XS", "Llama-3.2-3B-Instruct", "IQ4_XS"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct", None),
        ("kimi-k2-instruct", "Kimi-K2-Instruct", None),
        # One tag is the beginning of another.
        ("deepseek-r1:8b", "DeepSeek-R1-0528-Qwen3-8B", None),
        ("deepseek-r1:8b-llama-distill-q8_0", "DeepSeek-R1-Distill-Llama-8B", "Q8_0"),
        ("granite4:micro-h", "Granite-4.0-H-Micro", None),
    ],
)
def test_a_name_finds_its_model(text: str, name: str, quant: str | None) -> None:
    found = find_model(text)
    assert (found.model.name, found.quant, found.notice) == (name, quant, None)


@pytest.mark.parametrize(
    ("text", "name"),
    [("qwen3", "Qwen3-8B"), ("gemma3:latest", "Gemma-3-4B-it"), ("yi", "Yi-34B-Chat")],
)
def test_a_family_without_a_size_gives_its_usual_one_and_says_so(text: str, name: str) -> None:
    found = find_model(text)
    assert found.model.name == name
    assert found.notice == f"no size was given: {found.model.ollama} is taken"


@pytest.mark.parametrize(
    "text", ["qwen3:30b", "qwen3:30b-instruct", "qwen3:30b-q8_0", "qwen3:30b-a3b-fp16"]
)
def test_a_size_is_enough_where_one_model_has_it(text: str) -> None:
    assert find_model(text).model.name == "Qwen3-30B-A3B"


def test_models_whose_short_tag_holds_another_build_today_have_a_full_one() -> None:
    """The library's short tags of these went to builds of July 2025, with other contexts."""
    for short in ("qwen3:4b", "qwen3:30b", "qwen3:235b"):
        own = find_model(short).model.ollama or ""
        assert own.startswith(short)
        assert own.endswith("-q4_K_M")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quen3:8b", "the catalog has no model quen3; the nearest known are qwen3, "),
        ("qwen3:15b", "the catalog has no qwen3:15b; it has 0.6b, 1.7b, 4b, 8b, 14b, 32b"),
        ("qwen3.6", "qwen3.6 comes in several sizes, say which: 27b, 35b"),
        ("", "the catalog has no model of an empty name"),
        ("no\nsuch\nmodel " * 1000, "the catalog has no model no such model no such model"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PlannerError) as refusal:
        find_model(text)
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "letters", [";id;", "$(id)", "`id`", "|sh", "&", "\nid\n", " -o ", "'", '"', "<b>", "\\", "#"]
)
@pytest.mark.parametrize("host", ["hf.co/", "huggingface.co/", ""])
def test_what_a_shell_would_act_on_is_no_publisher(host: str, letters: str) -> None:
    """Names are written into lines that people copy into a terminal."""
    with pytest.raises(PlannerError, match="the catalog has no model"):
        find_model(f"{host}some{letters}one/Qwen3-8B-GGUF")
