"""Sizes of quantizations, beside files that llama-quantize really wrote."""

import pytest

from labdash.queries.quant_sizes import sizes_of

# SmolLM2 135M, whose rows of 576 are no whole number of blocks of 256, as written by
# llama-quantize of llama.cpp 0c1e57098 without an importance matrix: whole files in bytes.
WRITTEN = {
    "BF16": 269_117_024,
    "Q8_0": 143_042_144,
    "Q6_K": 136_613_984,
    "Q5_K_M": 110_334_560,
    "Q4_K_M": 103_685_216,
    "Q4_K_S": 100_270_688,
    "Q4_0": 89_957_984,
    "Q3_K_M": 91_741_280,
    "Q2_K": 86_432_864,
    "IQ4_XS": 89_543_264,
    "IQ4_NL": 90_289_760,
    "IQ3_M": 88_444_256,
    "TQ2_0": 81_870_944,
}
NAME = "smollm2:135m"


@pytest.mark.parametrize("quant", [quant for quant in WRITTEN if quant != "BF16"])
def test_file_has_the_size_that_llama_quantize_writes(quant: str) -> None:
    # Their headers are alike, so they differ by their tensors alone.
    (wide,), (narrow,) = (sizes_of(NAME, each, imatrix=False) for each in ("BF16", quant))
    assert wide.bytes - narrow.bytes == WRITTEN["BF16"] - WRITTEN[quant]
