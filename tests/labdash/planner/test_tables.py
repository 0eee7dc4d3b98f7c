"""Tensors of models without a file: by headers, by counted parameters, by published files."""

from math import prod

import pytest

from labdash.catalog.models import models
from labdash.planner.errors import PlannerError
from labdash.planner.model import Model
from labdash.planner.stock import stock_model
from labdash.planner.tables import tensors_of
from tests import oracle

HEADERS = sorted(
    path.name.removesuffix(".F16.gguf.gz") for path in oracle.FIXTURES.glob("headers/*.F16.gguf.gz")
)
# A file's header: names, tokens and merges of the largest vocabularies.
HEADER_LIMIT_BYTES = 17_000_000


@pytest.mark.parametrize("name", HEADERS)
def test_tables_equal_the_headers_of_real_models(name: str) -> None:
    real = oracle.model(name, "F16")
    tied = all(each.name != "output.weight" for each in real.tensors)
    assert set(tensors_of(real.metadata, tied=tied)) == set(real.tensors)


def test_tables_have_the_parameters_that_were_counted() -> None:
    checked = [each for each in models() if each.checked]
    for each in checked:
        # Converters leave out the rotation tables that old checkpoints hold.
        if "inv_freq" in (each.params_check or ""):
            continue
        tensors = tensors_of(each.metadata, tied=bool(each.tied))
        count = sum(prod(t.shape) for t in tensors if t.name != "rope_freqs.weight")
        language = each.params_language_model or each.params_total
        assert count in {language, each.params_tied, each.params_untied}, each.name
    assert len(checked) > 110


def _stock(name: str, quant: str, *, imatrix: bool = False) -> Model:
    found = next(each for each in models() if each.name == name)
    return stock_model(name, found.metadata, quant, tied=bool(found.tied), imatrix=imatrix)


def test_published_files_are_the_tensors_and_a_header() -> None:
    """Others are of Ollama's or an uploader's own mixes, of older rules, or hold a projector."""
    alike = 0
    for each in models():
        for file in each.files:
            try:
                size = _stock(each.name, file.quant or "").weight_bytes
            except PlannerError:
                continue
            alike += 0 < file.bytes - size < HEADER_LIMIT_BYTES
    assert alike >= 130


def test_known_sizes_to_the_byte() -> None:
    assert _stock("Llama-3.1-8B-Instruct", "Q4_K_M").weight_bytes == 4_912_898_304
    assert _stock("Llama-3.1-8B-Instruct", "IQ4_XS", imatrix=True).weight_bytes == 4_439_826_688
    assert _stock("Llama-3.3-70B-Instruct", "Q4_K_M").weight_bytes == 42_512_531_712


def test_an_encoder_keeps_no_cache_and_has_matrices_for_k_and_v() -> None:
    found = next(each for each in models() if each.arch == "gemma-embedding")
    names = {each.name for each in tensors_of(found.metadata, tied=True)}
    assert {"blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.attn_k_norm.weight"} <= names
    (file,) = found.files
    assert 0 < file.bytes - _stock(found.name, "Q8_0").weight_bytes < 12_000_000


def test_architectures_without_a_table_are_refused_in_one_line() -> None:
    with pytest.raises(PlannerError, match=r"give the model's GGUF file$"):
        _stock("Llama-3.2-11B-Vision-Instruct", "Q4_K_M")
