"""Encoders have the tensors of their files: all published parameters but a pooler."""

import pytest

from labdash.catalog.models import find_model
from labdash.planner.stock import stock_model


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("nomic-embed-text", 0),
        # The pooler, a square matrix with its bias, is in no GGUF file.
        ("mxbai-embed-large", 1024 * 1024 + 1024),
        ("all-minilm", 384 * 384 + 384),
        # And the two rows of its positions that stand for none.
        ("bge-m3", 1024 * 1024 + 1024 + 2 * 1024),
    ],
)
def test_an_encoder_has_all_that_was_published(name: str, missing: int) -> None:
    known = find_model(name).model
    model = stock_model(name, known.metadata, "F32", tied=False)
    assert model.weight_bytes // 4 == (known.params_total or 0) - missing


def test_a_quantized_encoder_keeps_its_small_tables() -> None:
    known = find_model("mxbai-embed-large").model
    model = stock_model("mxbai", known.metadata, "Q8_0", tied=False)
    kinds = {tensor.name: tensor.type for tensor in model.tensors}
    assert (kinds["position_embd.weight"], kinds["token_types.weight"]) == ("f32", "f32")
    assert kinds["blk.0.ffn_up.weight"] == "q8_0"


def test_a_file_is_as_large_as_was_published() -> None:
    known = find_model("nomic-embed-text").model
    model = stock_model("nomic", known.metadata, "F16", tied=False)
    published = next(file.bytes for file in known.files if file.file == known.ollama)
    # The rest is the header with its words.
    assert 0 < published - model.weight_bytes < 1_000_000
