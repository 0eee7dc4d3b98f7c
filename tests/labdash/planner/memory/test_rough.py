"""Models without a known graph are estimated by formula, and say so."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labdash.planner.ggml import tensor_bytes
from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.compute import compute_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.rough import rough_bytes
from labdash.planner.memory.run import run_of
from labdash.planner.memory.split import split_layers
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import Gpu, Settings
from tests.oracle import model

if TYPE_CHECKING:
    from labdash.planner.facts import Value

ONE = Settings(build=11434, ctx=8192)
WAYS = {
    "one GPU": ONE,
    "without flash attention": replace(ONE, flash_attn=False),
    "a quantised cache": replace(ONE, type_k="q8_0", type_v="q8_0"),
    "layers on the host": replace(ONE, gpu_layers=9),
    "no GPU": replace(ONE, gpus=()),
    "two GPUs": replace(ONE, gpus=(Gpu(), Gpu())),
}


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-8b", "qwen3-30b-a3b", "gemma-3-4b"])
@pytest.mark.parametrize("way", WAYS)
def test_formula_is_near_what_the_graph_gives(name: str, way: str) -> None:
    opened, settings = model(name, "Q4_K_M"), WAYS[way]
    split = split_layers(opened.shape.block_count, settings)
    cells = count_cells(opened.shape, settings)
    replayed = compute_bytes(opened, settings, split, cells)
    assert replayed is not None
    rough = rough_bytes(opened, run_of(opened, settings, split, cells), cells)
    assert len(rough) == len(replayed)
    for by_formula, by_graph in zip(rough, replayed, strict=True):
        assert 0.6 * by_graph <= by_formula <= 1.6 * by_graph


def unknown_model(arch: str, *names: str) -> Model:
    metadata: dict[str, Value] = {
        "general.architecture": arch,
        f"{arch}.block_count": 4,
        f"{arch}.embedding_length": 1024,
        f"{arch}.context_length": 8192,
        f"{arch}.attention.head_count": 16,
        f"{arch}.feed_forward_length": 4096,
    }
    shapes = {f"blk.{index}.{name}.weight": (1024, 3072) for index in range(4) for name in names}
    shapes |= {"token_embd.weight": (1024, 32000), "output.weight": (1024, 32000)}
    tensors = tuple(
        Tensor(name, shape, "f16", tensor_bytes("f16", shape)) for name, shape in shapes.items()
    )
    return Model(arch, "F16", metadata, tensors, "file")


@pytest.mark.parametrize(
    "opened",
    [
        unknown_model("brandnew", "mixer_in", "mixer_out"),
        unknown_model("brandnew"),
        unknown_model("mamba", "ssm_in", "ssm_out"),
        unknown_model("rwkv7", "time_mix_w1"),
        unknown_model("llama", "attn_q"),
    ],
    ids=["other tensors", "no tensors", "mamba", "rwkv", "known name, other block"],
)
@pytest.mark.parametrize("way", WAYS)
def test_unknown_graph_is_estimated_by_formula(opened: Model, way: str) -> None:
    answer = estimate(opened, WAYS[way])
    assert answer.basis.compute == "modelled"
    assert any("estimated by a formula" in warning for warning in answer.warnings)
    assert all(device.compute_bytes > 0 for device in answer.devices)
    assert answer.host.compute_bytes > 0


def test_dimensions_that_no_graph_has_are_estimated_by_formula() -> None:
    plain = unknown_model("mamba", "ssm_in", "ssm_out", "ssm_dt", "ssm_x", "ssm_conv1d")
    tensors = tuple(
        Tensor(each.name, each.shape[:1], "f16", tensor_bytes("f16", each.shape[:1]))
        if "ssm" in each.name
        else each
        for each in plain.tensors
    )
    facts = {**plain.metadata, "mamba.ssm.inner_size": 2048, "mamba.ssm.state_size": 16}
    answer = estimate(Model("flat", "F16", facts, tensors, "file"), ONE)
    assert any("estimated by a formula" in warning for warning in answer.warnings)


def test_hundreds_of_blocks_that_hang_on_each_other_are_followed() -> None:
    count = 500
    metadata: dict[str, Value] = {
        "general.architecture": "nemotron_h",
        "nemotron_h.block_count": count,
        "nemotron_h.embedding_length": 64,
        "nemotron_h.context_length": 8192,
        "nemotron_h.attention.head_count": 4,
        "nemotron_h.attention.head_count_kv": (0,) * count,
        "nemotron_h.feed_forward_length": (128,) * count,
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (64, 1000)}
    shapes |= {"output.weight": (64, 1000), "output_norm.weight": (64,)}
    for index in range(count):
        shapes[f"blk.{index}.attn_norm.weight"] = (64,)
        shapes[f"blk.{index}.ffn_up.weight"] = (64, 128)
        shapes[f"blk.{index}.ffn_down.weight"] = (128, 64)
    tensors = tuple(
        Tensor(name, shape, "f16", tensor_bytes("f16", shape)) for name, shape in shapes.items()
    )
    deep = Model("deep", "F16", metadata, tensors, "file")
    answer = estimate(deep, replace(ONE, outputs=0))
    assert answer.basis.compute == "simulated"


def test_usual_block_of_another_architecture_is_modelled() -> None:
    known = model("llama-3.1-8b", "Q4_K_M")
    metadata = {key.replace("llama.", "brandnew."): value for key, value in known.metadata.items()}
    metadata["general.architecture"] = "brandnew"
    other = Model("other", known.quant, metadata, known.tensors, "file")
    answer = estimate(other, ONE)
    assert answer.basis.compute == "modelled"
    assert answer.devices[0].compute_bytes == estimate(known, ONE).devices[0].compute_bytes
    assert any("usual block, not checked" in warning for warning in answer.warnings)
