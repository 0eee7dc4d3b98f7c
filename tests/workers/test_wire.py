import pytest
from pydantic import TypeAdapter, ValidationError

from workers.wire import ModelName

NAMES: TypeAdapter[str] = TypeAdapter(ModelName)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3",
        "qwen3:8b",
        "llama3.1:8b-instruct-q4_K_M",
        "someone/their-model:latest",
        "hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M",
        "huggingface.co/bartowski/Llama-3.2-1B-Instruct-GGUF",
        "registry.ollama.ai/library/qwen3:8b",
        "_private/_model:_tag",
    ],
)
def test_a_name_that_ollama_and_labdash_know_is_taken(name: str) -> None:
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/../b",
        "../etc/passwd",
        "a//b",
        "/a",
        "a/",
        "a:",
        ":8b",
        "a:b:c",
        "a b",
        "a\n",
        "qwen3:8b\n",
        "-a",
        ".a",
        "a:.b",
        "with.dot/model",
        "evil.example/library/qwen3",
        "127.0.0.1:5000/library/qwen3",
        "hf.co/only",
        "hf.co/a/b/c",
        "http://hf.co/a/b",
        "hf.co:443/a/b",
        "qwen3@sha256",
        "a" * 81,
        "a:" + "b" * 81,
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)
