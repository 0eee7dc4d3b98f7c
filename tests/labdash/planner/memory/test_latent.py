"""Attention over compressed rows, and over rows that older files open before they are kept."""

import pytest

from labdash.planner.memory.estimate import measure
from labdash.planner.settings import Settings
from tests.benchmarks.accuracy.measured_rows import MIB, load_of, rows, uncompressed
from tests.oracle import model

# Posted of an RTX 3060 at b10644: deepseek-coder-v2:16b as Ollama's library has it, of 2024.
POSTED = ("m128", "m129", "m130")


@pytest.mark.parametrize("name", POSTED)
def test_a_file_of_before_2025_is_estimated_with_k_and_v_of_every_head(name: str) -> None:
    row = next(row for row in rows() if row["id"] == name)
    load = load_of(row)
    buffers = measure(load.model, load.settings)
    assert buffers.weights[0] / MIB == pytest.approx(row["weights_mib"]["CUDA0"], abs=0.01)
    assert buffers.kv[0] / MIB == row["kv_mib"]["CUDA0"]
    assert buffers.compute[0] / MIB == pytest.approx(row["compute_mib"]["CUDA0"], rel=0.03)


@pytest.mark.parametrize("flash_attn", [True, False])
def test_an_opened_row_takes_more_cache_than_a_compressed_one(*, flash_attn: bool) -> None:
    compressed = model("deepseek-v2-lite", "Q4_K_M")
    settings = Settings(build=11434, ctx=8192, flash_attn=flash_attn)
    old, new = (measure(each, settings) for each in (uncompressed(compressed), compressed))
    assert sum(old.kv) == pytest.approx(sum(new.kv) * 16 * (192 + 128) / 576)
    assert sum(old.weights) == pytest.approx(sum(new.weights), rel=0.001)
    assert old.compute[0] > 0
