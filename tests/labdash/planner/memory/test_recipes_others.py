"""Architectures beside the recorded ones: every buffer is as large as llama.cpp says.

``others.jsonl.gz`` holds the shape of a real model of each, its tensors, and what llama.cpp b11434
reports of a load without allocating, CUDA being stood in for, in MiB: weights, cache and compute
buffer of each GPU, the host's last.
"""

import pytest

from labdash.planner.ggml import tensor_bytes
from labdash.planner.memory.estimate import estimate, measure
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import Gpu, Settings
from tests.oracle import MIB, Row, read_rows

# Figures are given to four decimals; a GPU's and the host's buffers are aligned differently.
EXACT_MIB = 0.006
OTHERS = read_rows("others")
# Their graphs are not known: what is said of their compute buffers is a formula.
ROUGH = ("bert", "gemma-embedding", "nomic-bert")
ROUGH_PART = 0.001


def opened(other: Row) -> Model:
    """Make a model of its compact table: tensors of all layers that are alike are one entry."""
    tensors = tuple(
        Tensor(name, tuple(shape), kind, tensor_bytes(kind, tuple(shape)))
        for short, shape, kind, layers in other["tensors"]
        for name in ([f"blk.{layer}.{short}" for layer in layers] or [short])
    )
    metadata = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in other["metadata"].items()
    }
    return Model(other["model"], None, metadata, tensors, "file")


def settings(run: Row) -> Settings:
    given = {key: value for key, value in run.items() if key not in ("mib", "gpu_mib")}
    gpus = tuple(Gpu(mib * MIB) for mib in run["gpu_mib"])
    return Settings(build=11434, gpus=gpus, **given)


def by_device(model: Model, run: Row) -> list[list[float]]:
    buffers = measure(model, settings(run))
    kinds = (buffers.weights, buffers.kv, buffers.compute)
    return [[size / MIB for size in device] for device in zip(*kinds, strict=True)]


@pytest.mark.parametrize("other", OTHERS, ids=[each["model"] for each in OTHERS])
def test_each_buffer_is_as_llama_cpp_reports(other: Row) -> None:
    model = opened(other)
    for run in other["runs"]:
        told = by_device(model, run)
        kinds, part = (2, ROUGH_PART) if model.shape.arch in ROUGH else (3, 0.0)
        for device, wanted in zip(told, run["mib"], strict=True):
            assert device[:kinds] == pytest.approx(wanted[:kinds], abs=EXACT_MIB, rel=part)


@pytest.mark.parametrize("other", OTHERS, ids=[each["model"] for each in OTHERS])
def test_what_was_compared_is_called_simulated(other: Row) -> None:
    told = estimate(opened(other), settings(other["runs"][0])).basis.compute
    assert told == ("modelled" if opened(other).shape.arch in ROUGH else "simulated")
