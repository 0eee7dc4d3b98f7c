import pytest

from workers.engines.names import canonical_name, listed_name


@pytest.mark.parametrize(
    "name",
    ["qwen3", "Qwen3:latest", "library/qwen3", "registry.ollama.ai/library/qwen3:Latest"],
)
def test_what_ollama_fills_in_is_written_out(name: str) -> None:
    assert canonical_name(name) == "registry.ollama.ai/library/qwen3:latest"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("someone/model:8b", "registry.ollama.ai/someone/model:8b"),
        ("hf.co/u/Repo-GGUF:Q4_K_M", "hf.co/u/repo-gguf:q4_k_m"),
    ],
)
def test_other_sources_stay_apart(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("qwen3:8b", "qwen3:8b"),
        ("labdash/chat", "labdash/chat:latest"),
        ("hf.co/u/Repo-GGUF", "hf.co/u/Repo-GGUF:latest"),
    ],
)
def test_name_is_listed_with_its_tag(name: str, listed: str) -> None:
    assert listed_name(name) == listed
