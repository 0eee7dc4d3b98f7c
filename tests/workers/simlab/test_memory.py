"""Simulated memory against runs of llama.cpp: sums must be equal, buffers found or refused."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from workers.simlab.catalog import models
from workers.simlab.fit import proportional
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.memory import (
    GREATEST_STEP,
    LEAST_POINT,
    MIB,
    caches,
    compute,
    recorded_compute,
    weights,
)
from workers.simlab.splits import Room

ROWS = json.loads((Path(__file__).parents[2] / "fixtures" / "simlab" / "rows.json").read_text())
CLOSE_MIB = 0.01


def request_of(row: dict[str, Any]) -> LoadRequest:
    return LoadRequest(
        model=row["model"],
        quant=row["quant"],
        context_length=row["n_ctx_actual"] // row["n_seq"],
        parallel=row["n_seq"],
        batch=row["n_ubatch"],
        kv_type=row["type_k"],
        flash_attention=row["fa"],
        name=row["model"],
        blob_digest="sha256:0",
    )


def units_of(row: dict[str, Any]) -> dict[int, range]:
    sizes = row["device_mem_MiB"].split(",") * row["n_devices"]
    rooms = [
        Room(index=index, free_bytes=int(sizes[index]) * MIB, context_bytes=0)
        for index in range(row["n_devices"])
    ]
    return proportional(rooms, models()[row["model"]].block_count + 1, row["ngl"])


def of_recorded_types() -> list[dict[str, Any]]:
    """Leave out gpt-oss, of which the library's file has other types than what was recorded."""
    return [row for row in ROWS if row["model"] != "gpt-oss-20b"]


def test_weights_of_every_device_are_the_recorded_ones() -> None:
    for row in of_recorded_types():
        sums = weights(row["model"], row["quant"])
        for index, units in units_of(row).items():
            expected = row["devices"].get(f"GPU{index}", {}).get("weights", 0)
            total = sum(sums.gpu[unit] for unit in units) + sums.shared * bool(units)
            assert total / MIB == pytest.approx(expected, abs=CLOSE_MIB), row["id"]


def test_weights_of_the_host_are_the_recorded_ones() -> None:
    for row in of_recorded_types():
        sums = weights(row["model"], row["quant"])
        total = sums.host_input + sum(sums.host[: len(sums.host) - row["ngl"]])
        expected = sum(buffer["weights"] for buffer in row["host"].values())
        assert total / MIB == pytest.approx(expected, abs=CLOSE_MIB), row["id"]


def test_cache_of_every_device_is_the_recorded_one() -> None:
    for row in ROWS:
        sizes = [cache.size_bytes for cache in caches(request_of(row))]
        for index, units in units_of(row).items():
            expected = row["devices"].get(f"GPU{index}", {}).get("kv", 0)
            total = sum(sizes[unit] for unit in units if unit < len(sizes))
            assert total / MIB == pytest.approx(expected, abs=CLOSE_MIB), row["id"]


def test_compute_of_a_recorded_run_is_found_again() -> None:
    rows = [row for row in ROWS if "," not in row["device_mem_MiB"]]
    for row in [row for row in rows if row["n_outputs_max"] == row["n_seq"]]:
        found = compute(request_of(row), devices=row["n_devices"], layers=row["ngl"])
        names = [f"GPU{index}" for index in range(row["n_devices"])]
        gpus = [row["devices"].get(name, {}).get("compute", 0) for name in names]
        host = sum(buffer["compute"] for buffer in row["host"].values())
        assert [value / MIB for value in found] == pytest.approx([*gpus, host], abs=CLOSE_MIB)


def load(**changes: Any) -> LoadRequest:
    settings: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "quant": "Q4_K_M",
        "context_length": 8192,
    } | changes
    return LoadRequest(**settings, name="x", blob_digest="sha256:0")


def test_compute_between_near_contexts_lies_between_them() -> None:
    low, middle, high = (
        recorded_compute(load(context_length=context), devices=1, layers=33)
        for context in (8192, 12288, 32768)
    )
    assert low
    assert middle
    assert high
    assert low[0] < middle[0] < high[0]
    assert middle[0] - low[0] == pytest.approx((high[0] - low[0]) / 6, rel=0.01)


def test_compute_between_far_contexts_is_not_made_up() -> None:
    """Of this cache type nothing between 8192 and 131072 was recorded."""
    assert (
        recorded_compute(load(context_length=65536, kv_type="q8_0"), devices=1, layers=33) is None
    )


def test_compute_below_the_least_context_is_not_made_up() -> None:
    assert recorded_compute(load(context_length=1280), devices=1, layers=33) is None


def test_compute_does_not_depend_on_the_quant_of_weights_that_are_all_on_gpus() -> None:
    found = {
        recorded_compute(load(quant=quant), devices=1, layers=33)
        for quant in models()["llama-3.1-8b"].variants
    }
    assert len(found) == 1
    assert None not in found


def test_compute_of_a_split_with_the_host_holds_for_the_recorded_quant_only() -> None:
    assert recorded_compute(load(), devices=1, layers=17)
    assert recorded_compute(load(quant="Q8_0"), devices=1, layers=17) is None


def test_compute_between_two_layer_counts_is_taken_only_where_both_agree() -> None:
    """20 and 28 layers were recorded alike, 32 differs."""
    between = recorded_compute(load(), devices=1, layers=25)
    assert between == recorded_compute(load(), devices=1, layers=28)
    assert recorded_compute(load(), devices=1, layers=30) is None


def test_a_refusal_says_what_was_not_recorded() -> None:
    with pytest.raises(LoadRefused, match=r"^not recorded: .* batch 64") as caught:
        compute(load(batch=64), devices=2, layers=33)
    assert caught.value.status == 500


def neighbours(points: list[Any]) -> list[tuple[Any, Any, Any]]:
    """Points between two others that lie near enough to interpolate."""
    threes = zip(points, points[1:], points[2:], strict=False)
    return [(a, b, c) for a, b, c in threes if a[0] >= LEAST_POINT and c[0] <= a[0] * GREATEST_STEP]


def test_interpolation_would_have_found_nearly_all_recorded_points() -> None:
    """Leave each point out that has near neighbours, and compare its figures."""
    series = [entry["points"] for model in models().values() for entry in model.compute]
    errors = []
    for before, point, after in (three for points in series for three in neighbours(points)):
        share = (point[0] - before[0]) / (after[0] - before[0])
        for low, true, high in zip(before[1], point[1], after[1], strict=True):
            errors.append(abs(low + (high - low) * share - true) / max(1, true / 100))
    assert len(errors) > 200
    assert sum(error > 1 for error in errors) <= len(errors) / 100


def test_contexts_of_a_series_rise() -> None:
    for model in models().values():
        for entry in model.compute:
            contexts = [context for context, _ in entry["points"]]
            assert all(low < high for low, high in pairwise(contexts))
