"""Model names: grammar, short forms, letter case."""

import pytest

from workers.simlab.ollama.names import SourceClashError, from_path, parse, recase


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("qwen3", "registry.ollama.ai/library/qwen3:latest"),
        ("qwen3:8b", "registry.ollama.ai/library/qwen3:8b"),
        ("me/qwen3:8b", "registry.ollama.ai/me/qwen3:8b"),
        ("nas:5000/library/qwen3", "nas:5000/library/qwen3:latest"),
        ("http://nas:5000/library/qwen3:8b", "nas:5000/library/qwen3:8b"),
        ("hf.co/me/repo.GGUF:Q4_K_M", "hf.co/me/repo.GGUF:Q4_K_M"),
        ("qwen3:8b:local", "registry.ollama.ai/library/qwen3:8b"),
    ],
)
def test_missing_parts_get_their_defaults(text: str, full: str) -> None:
    assert parse(text).is_valid
    assert parse(text).full == full


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b/c/d/e:f:g", ":8b", "qwen3:", "/x", "x/", "-a", "n.s/m", "ä", "a" * 81],
)
def test_a_name_out_of_grammar_is_invalid(text: str) -> None:
    assert not parse(text).is_valid


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("registry.ollama.ai/library/qwen3:8b", "qwen3:8b"),
        ("registry.ollama.ai/me/qwen3:8b", "me/qwen3:8b"),
        ("nas:5000/library/qwen3:8b", "nas:5000/library/qwen3:8b"),
    ],
)
def test_the_short_form_hides_library_only_with_the_default_host(text: str, short: str) -> None:
    assert parse(text).short == short


def test_a_name_says_either_local_or_cloud() -> None:
    with pytest.raises(SourceClashError, match="use either :local or :cloud, not both"):
        parse("qwen3:cloud:local")


def test_each_part_is_spelled_as_any_existing_name_spells_it() -> None:
    existing = [parse("other:q4_k_m"), parse("Qwen3:8b")]
    assert recase(parse("qwen3:Q4_K_M"), existing).short == "Qwen3:q4_k_m"


def test_the_path_of_a_manifest_reads_back() -> None:
    name = parse("nas:5000/library/qwen3:8b")
    assert from_path(name.path) == name
