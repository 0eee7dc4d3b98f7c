"""Model names."""

import pytest

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("qwen3:8b", "qwen3:8b"),
        ("  qwen3 ", "qwen3:latest"),
        ("library/qwen3:8b", "qwen3:8b"),
        ("registry.ollama.ai/library/qwen3:8b", "qwen3:8b"),
        ("Registry.Ollama.ai/library/qwen3", "qwen3:latest"),
        ("someone/their-model_2:q4_K_M", "someone/their-model_2:q4_K_M"),
        ("registry.ollama.ai/someone/model:1.5b", "someone/model:1.5b"),
        ("hf.co/user/Repo-GGUF:Q4_K_M", "hf.co/user/Repo-GGUF:Q4_K_M"),
        ("huggingface.co/user/repo", "huggingface.co/user/repo:latest"),
        ("_x:y", "_x:y"),
    ],
)
def test_a_name_is_returned_as_ollama_lists_it(text: str, name: str) -> None:
    assert parse_model_name(text) == name


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "Write a model name"),
        ("   ", "Write a model name"),
        ("https://ollama.com/library/qwen3", "Leave out what ends with ://"),
        ("nas.lan:5000/library/qwen3:8b", "nas.lan:5000 is not a known source"),
        ("evil.example/library/qwen3", "evil.example is not a known source"),
        ("a/b/c/d", "too many parts"),
        ("hf.co/qwen3", "write hf.co/user/model"),
        ("name.space/model", "is no model name"),
        ("-qwen3:8b", "is no model name"),
        ("qwen3:", "is no model name"),
        (":8b", "is no model name"),
        ("qwen 3", "is no model name"),
        ("qwen3;rm -rf", "is no model name"),
        ("../../etc/passwd", "too many parts"),
        ("a/../b", "a is not a known source"),
        ("..", "is no model name"),
        ("qwen3:8b\nx", "is no model name"),
        ("gpt-oss:120b-cloud", "in Ollama's cloud"),
        ("gpt-oss:cloud", "in Ollama's cloud"),
        ("qwёn3:8b", "is no model name"),
    ],
)
def test_what_cannot_be_pulled_is_refused_in_plain_words(text: str, part: str) -> None:
    with pytest.raises(LabDashError) as refused:
        parse_model_name(text)
    assert part in str(refused.value)


@pytest.mark.parametrize("length", [81, 350])
@pytest.mark.parametrize(
    ("form", "what"),
    [
        ("{}", "name"),
        ("{}:8b", "name"),
        ("qwen3:{}", "tag"),
        ("{}/qwen3", "namespace"),
        ("hf.co/{}/repo", "namespace"),
        ("hf.co/user/{}:Q4_K_M", "name"),
    ],
)
def test_part_beyond_ollamas_limit_is_said_to_be_too_long(
    form: str, what: str, length: int
) -> None:
    assert parse_model_name(form.format("m" * 80))
    with pytest.raises(LabDashError) as refused:
        parse_model_name(form.format("m" * length))
    assert str(refused.value) == (
        f"The {what} {'m' * 20}… is too long: it has {length} characters, and Ollama takes 80 at"
        " most."
    )
