"""Cells of caches and what llama.cpp refuses to load."""

from dataclasses import replace

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.estimate import estimate, measure
from labdash.planner.settings import Gpu, Settings
from tests.oracle import MIB, model

PLAIN = Settings(build=10488, ctx=8192)


def kv_mib(name: str, settings: Settings, quant: str = "Q4_K_M") -> float:
    return measure(model(name, quant), settings).kv[0] / MIB


@pytest.mark.parametrize(
    ("kind", "mib"), [("f16", 1024), ("f32", 2048), ("q8_0", 544), ("q5_1", 384), ("q4_0", 288)]
)
def test_cache_takes_what_its_type_takes(kind: str, mib: int) -> None:
    assert kv_mib("llama-3.1-8b", replace(PLAIN, type_k=kind, type_v=kind)) == mib


def test_windowed_layers_keep_their_window_and_a_batch() -> None:
    assert kv_mib("gemma-3-12b", PLAIN) == 992
    assert kv_mib("gemma-3-12b", replace(PLAIN, batch=2048, ubatch=2048)) == 1472
    assert kv_mib("gemma-3-12b", replace(PLAIN, swa_full=True)) == 8 * 48 * 8


def test_slots_divide_the_context_or_share_it() -> None:
    split, shared = replace(PLAIN, parallel=4), replace(PLAIN, parallel=4, unified_kv=True)
    assert kv_mib("gpt-oss-20b", shared, "MXFP4") == 216
    shape = model("llama-3.1-8b", "Q4_K_M").shape
    assert count_cells(shape, replace(split, ctx=2304)).full == 768
    assert count_cells(shape, replace(shared, ctx=2304)).full == 2304


def test_state_of_recurrent_layers_hangs_on_slots_and_not_on_context() -> None:
    short, long = (kv_mib("qwen3-next-80b-a3b", replace(PLAIN, ctx=c)) for c in (8192, 16384))
    assert round(short, 1) == 267.4
    assert round(long - short) == 192


def test_context_of_zero_is_the_trained_one() -> None:
    assert estimate(model("llama-3.1-8b", "Q4_K_M"), replace(PLAIN, ctx=0)).ctx == 131072


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("llama-3.1-8b", {"ctx": -1}, "cannot be negative"),
        ("llama-3.1-8b", {"parallel": 0}, "at least one slot"),
        ("llama-3.1-8b", {"ubatch": 0}, "at least one token"),
        ("llama-3.1-8b", {"gpu_layers": -2}, "cannot be negative"),
        ("llama-3.1-8b", {"type_k": "q9"}, "KV type q9 is unknown"),
        ("llama-3.1-8b", {"type_v": "q8_0", "flash_attn": False}, "needs flash attention"),
        ("deepseek-v2-lite", {"type_k": "q8_0"}, "the same KV type"),
        ("llama-3.1-8b", {"tensor_split": (1.0, 1.0)}, "2 shares for 1 GPUs"),
        ("llama-3.1-8b", {"tensor_split": (0.0,)}, "must be positive"),
        ("llama-3.1-8b", {"cpu_override": "(("}, "pattern"),
    ],
)
def test_settings_that_llama_cpp_refuses_get_one_line(
    name: str, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(PlannerError, match=text) as refused:
        measure(model(name, "Q4_K_M"), replace(PLAIN, **changes))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_load_fits_where_all_parts_and_the_overhead_do() -> None:
    opened = model("llama-3.1-8b", "Q4_K_M")
    need = estimate(opened, PLAIN).devices[0].total_bytes
    exact, short = (
        estimate(opened, replace(PLAIN, gpus=(Gpu(free_bytes=size),))) for size in (need, need - 5)
    )
    assert exact.fits is True
    assert exact.devices[0].short_bytes == 0
    assert short.fits is False
    assert short.devices[0].short_bytes == 5
    assert estimate(opened, PLAIN).fits is None


def test_gpus_without_layers_are_listed_and_hold_nothing() -> None:
    settings = replace(PLAIN, gpu_layers=0, op_offload=False, gpus=(Gpu(), Gpu()))
    result = estimate(model("llama-3.1-8b", "Q4_K_M"), settings)
    assert [(gpu.layers, gpu.total_bytes) for gpu in result.devices] == [(0, 0), (0, 0)]


def test_more_layers_than_there_are_mean_all() -> None:
    opened = model("llama-3.1-8b", "Q4_K_M")
    assert measure(opened, replace(PLAIN, gpu_layers=999)) == measure(opened, PLAIN)


def test_builds_before_december_2025_offload_the_output_last() -> None:
    opened = model("qwen3-30b-a3b", "Q4_K_M")
    old, new = (
        measure(opened, replace(PLAIN, build=build, gpu_layers=30)).weights[0] / MIB
        for build in (5466, 10488)
    )
    # A log of build 5466 says 10751 MiB.
    assert round(old) == 10751
    assert round(new) == 10659
