"""What each known refusal of Ollama means."""

import pytest

from workers.engines.load_reasons import clean, explain

RUNNER = "llama-server process has terminated: "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model requires more system memory (9.1 GiB) than is available (4.0 GiB)", "The RAM"),
        ("llama-server reported out-of-memory during startup: x", "The GPU's memory"),
        ("memory layout cannot be allocated with num_gpu = 99", "The GPU's memory"),
        (f"{RUNNER}cudaMalloc failed: out of memory", "The GPU's memory"),
        ("unable to load model: /models/blobs/sha256-ab", "The process that runs the model"),
        (f"{RUNNER}exit status 1", "The process that runs the model"),
        (f"{RUNNER}exit status 2: unknown model architecture: 'x'", "This Ollama (0.32.15)"),
        (f"{RUNNER}signal: killed", "Something killed"),
        (f"{RUNNER}signal: segmentation fault (core dumped)", "The process crashed"),
        ("invalid file magic", "The model's file is damaged"),
        ('tensor "x.weight" offset+size (15) exceeds file size (8)', "The model's file is damaged"),
        ("EOF", "The model's file is damaged"),
        ("invalid character 'n' looking for beginning of object key string", "What Ollama noted"),
        ("requested context size too large for model", "The context is too large"),
        ("server busy, please try again.  maximum pending requests exceeded", "Ollama has too"),
        ("model 'x' not found", "This server has no such model"),
        ('"x" does not support generate', "Ollama cannot load this kind"),
        ("ollama cloud is disabled: remote model is unavailable", "This model runs in Ollama's"),
        ('option "num_ctx" must be of type integer', "A parameter stored"),
        ("timed out waiting for llama-server to start - ", "It made no step"),
        ("this load was not recorded", "This is a limit of the simulation"),
        ("something new", "LabDash does not know this error"),
    ],
)
def test_known_refusal_is_explained(text: str, words: str) -> None:
    assert explain(text, version="0.32.15", main_gpu=None, gpus=2).startswith(words)


def test_card_that_is_not_there_is_named() -> None:
    told = explain(f"{RUNNER}exit status 1", version="0.32.15", main_gpu=2, gpus=2)
    assert told == "There is no GPU 2 for this server: it counts from 0 and has 2."


def test_card_that_the_server_may_not_see_is_suspected() -> None:
    told = explain(f"{RUNNER}exit status 1", version="0.32.15", main_gpu=1, gpus=2)
    assert "it may have no GPU 1" in told
    text = f"{RUNNER}exit status 1: cudaMalloc failed"
    assert explain(text, version="0.32.15", main_gpu=1, gpus=2).startswith("The GPU's memory")


def test_way_out_by_another_card_is_told_of_a_pinned_load_alone() -> None:
    text = "cudaMalloc failed: out of memory"
    assert "without a GPU" in explain(text, version="0.32.15", main_gpu=0, gpus=2)
    assert "without a GPU" not in explain(text, version="0.32.15", main_gpu=None, gpus=1)


def test_long_text_is_cut_to_one_line() -> None:
    assert len(clean("a\nb" * 2000)) == 900
    assert "\n" not in clean("a\nb")
