import pytest

from workers.engines.create_reasons import explain


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("write /x/blobs/sha256-1: no space left on device", "The disk of its models is full."),
        ("open /x/manifests: permission denied", "Ollama may not write to its own folder"),
        ("invalid model name", "Ollama takes labdash/a for no model name."),
        ("neither 'from' or 'files' was specified", "This Ollama is too old to make a name"),
        ('option "num_gpu" must be of type integer', "Ollama does not take one of the options"),
        ("model 'a:1b' not found", "The model or one of its files is not there any more."),
        (
            "create-time quantization is only supported for safetensors imports; quantize GGUF",
            "This Ollama makes no smaller files",
        ),
        ("remote model is unavailable", "This model runs in Ollama's cloud"),
        ("EOF", "What Ollama noted of this model is damaged."),
        ("the simulated server knows no Q4_K_S of this model", "This is a limit of the simulation"),
        ("something else", "LabDash does not know this error."),
    ],
)
def test_what_ollama_says_is_told_in_plain_words(text: str, meaning: str) -> None:
    assert explain(text, model="labdash/a").startswith(meaning)
