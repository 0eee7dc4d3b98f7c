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


# What llama.cpp's own dry run at b11434 reports of such a file of deepseek-v2-lite, whose heads of
# 192 and 128 have a kernel of flash attention only where eight share one of the cache: context,
# flash attention, MiB of compute on the GPU and on the host, which attends in the kernel's place.
REPORTED = (
    (8192, True, 80.1387, 102.0176),
    (32768, True, 80.1387, 366.0176),
    (8192, False, 348.0099, 40.0137),
    (32768, False, 1164.0099, 88.0137),
)


@pytest.mark.parametrize(("ctx", "flash_attn", "gpu", "host"), REPORTED)
def test_opened_rows_take_what_the_engine_reports(
    ctx: int, *, flash_attn: bool, gpu: float, host: float
) -> None:
    compressed = model("deepseek-v2-lite", "Q4_K_M")
    old = uncompressed(compressed)
    buffers = measure(old, Settings(build=11434, ctx=ctx, batch=2048, flash_attn=flash_attn))
    assert [size / MIB for size in buffers.compute] == pytest.approx([gpu, host], abs=1e-4)
    assert buffers.kv[0] == 27 * ctx * 16 * (192 + 128) * 2
    assert sum(buffers.weights) == pytest.approx(compressed.weight_bytes, rel=0.001)
