"""The planner's figures beside llama.cpp's own; python -m tests.benchmarks.accuracy takes all."""

import pytest

from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.compute import compute_bytes
from labdash.planner.memory.split import split_layers
from tests.benchmarks.accuracy.compare import Comparison, compare, percentile, share
from tests.benchmarks.accuracy.report import chosen, wanted
from tests.oracle import BUILDS, Row, model, read_rows, runs, sample, settings_of

EXACT_MIB = 0.01


@pytest.fixture(scope="module", params=BUILDS)
def compared(request: pytest.FixtureRequest) -> Comparison:
    """Some runs of every architecture, and all that llama.cpp refused."""
    build = request.param
    refused = [row for row in runs(build) if "error" in row]
    return compare([*sample(build, 61), *refused], build)


def test_weights_and_caches_of_recorded_loads_are_equal(compared: Comparison) -> None:
    fixed = [*compared.of("weights"), *compared.of("kv")]
    assert len(fixed) > 100
    assert share(fixed, part=0, mib=EXACT_MIB) == 1


def test_compute_buffers_of_recorded_loads_are_within_one_percent(compared: Comparison) -> None:
    for host in (True, False):
        assert share(compared.of("compute", host=host), part=0.01, mib=1) >= 0.98


def test_compute_buffers_of_recorded_loads_are_nearly_all_equal(compared: Comparison) -> None:
    assert share(compared.of("compute"), part=0, mib=EXACT_MIB) >= 0.97


def test_sum_of_a_device_is_within_one_percent(compared: Comparison) -> None:
    assert percentile(compared.of("total"), 0.99) <= 0.01


def test_what_llama_cpp_refuses_is_refused(compared: Comparison) -> None:
    assert compared.refused
    assert not compared.wrongly_answered
    assert not compared.wrongly_refused


def partly_offloaded() -> list[Row]:
    rows = [
        row
        for build in BUILDS
        for row in runs(build)
        if "error" not in row and row["n_outputs_max"] and (row["n_devices"] > 1 or row["ngl"] < 60)
    ]
    return rows[:: len(rows) // 50][:50]


def test_running_through_distinct_layers_gives_what_all_layers_give() -> None:
    differing = []
    for row in partly_offloaded():
        opened, settings = model(row["model"], row["quant"]), settings_of(row, BUILDS[0])
        split = split_layers(opened.shape.block_count, settings)
        cells = count_cells(opened.shape, settings)
        short = compute_bytes(opened, settings, split, cells)
        if short != compute_bytes(opened, settings, split, cells, whole=True):
            differing.append(row["id"])
    assert differing == []


@pytest.mark.parametrize(
    "row", read_rows("fit")[::31], ids=lambda row: f"{row['model']}-{row['args']}"
)
def test_fit_chooses_as_llama_cpp_does(row: Row) -> None:
    assert chosen(row) == wanted(row)


def has_experts(row: Row) -> bool:
    return model(row["model"], row["quant"]).shape.experts is not None


@pytest.mark.parametrize("build", BUILDS)
def test_experts_that_are_summed_on_a_gpu_behind_layers_of_the_host(build: int) -> None:
    split = [
        row
        for row in runs(build)
        if has_experts(row)
        and not (row["op_offload"] or row.get("override_to_cpu") or "error" in row)
    ]
    compared = compare(split, build)
    assert len(compared.of("compute")) >= 8
    assert share(compared.of("compute"), part=0, mib=EXACT_MIB) == 1
