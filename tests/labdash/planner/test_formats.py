"""Weights and caches of other formats, against sizes that were published."""

import pytest

from labdash.planner.formats import (
    WHOLE_ROW,
    Awq,
    Cache,
    Format,
    Gptq,
    Int8,
    Mlx,
    Plain,
    cache_bytes,
    weight_bytes,
)
from labdash.planner.model import Tensor
from labdash.planner.shape import Layer, Mla, Recurrent, Shape
from tests.labdash.planner import llama


@pytest.mark.parametrize(
    ("model", "kind", "size"),
    [
        # mlx-community on Hugging Face, as exo's model cards give them.
        (llama.LLAMA_3_2_1B, Mlx(), 695_242_752),
        (llama.LLAMA_3_2_3B, Mlx(), 1_807_423_488),
        (llama.LLAMA_3_1_8B, Mlx(), 4_517_404_672),
        (llama.LLAMA_3_3_70B, Mlx(), 39_688_355_840),
        (llama.QWEN3_CODER_30B, Mlx(), 17_180_913_664),
        (llama.SMOLLM2_135M, Mlx(bits=8), 142_955_136),
    ],
)
def test_mlx_files_have_their_published_bytes(model: llama.Llama, kind: Format, size: int) -> None:
    assert weight_bytes(model.tensors(), kind) == size


@pytest.mark.parametrize(
    ("model", "kind", "gigabytes"),
    [
        # TheBloke on Hugging Face: what the model cards state.
        (llama.LLAMA_2_7B, Gptq(4, 128), 3.90),
        (llama.LLAMA_2_7B, Gptq(4, 64), 4.02),
        (llama.LLAMA_2_7B, Gptq(4, 32), 4.28),
        (llama.LLAMA_2_13B, Gptq(4, 128), 7.26),
        (llama.LLAMA_2_13B, Gptq(4, 32), 8.00),
        (llama.MISTRAL_7B, Gptq(4, 128), 4.16),
        (llama.MISTRAL_7B, Gptq(4, 32), 4.57),
        (llama.TINYLLAMA, Gptq(4, 128), 0.77),
        (llama.TINYLLAMA, Gptq(4, 32), 0.82),
        (llama.CODELLAMA_34B, Gptq(4, WHOLE_ROW), 17.69),
        (llama.CODELLAMA_34B, Gptq(4, 128), 18.33),
        (llama.CODELLAMA_34B, Gptq(4, 32), 20.28),
        (llama.LLAMA_2_70B, Gptq(4, 128), 36.65),
        (llama.LLAMA_2_70B, Gptq(4, 32), 40.66),
    ],
)
def test_gptq_files_have_their_published_size(
    model: llama.Llama, kind: Format, gigabytes: float
) -> None:
    assert round(weight_bytes(model.tensors(), kind) / 1e9, 2) == gigabytes


# By hand from the layout: 6,476,005,376 weights of blocks in groups of 128, 262,144,000 of
# embeddings and output, 266,240 of norms.
MATRICES, ENDS, NORMS = 6_476_005_376, 262_144_000, 266_240
OUTPUTS = 32 * (5 * 4096 + 2 * 11_008)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (Plain(32), 4 * (MATRICES + ENDS + NORMS)),
        (Plain(16), 2 * (MATRICES + ENDS + NORMS)),
        (Int8(), MATRICES + 4 * OUTPUTS + 2 * (ENDS + NORMS)),
        (Awq(), MATRICES // 2 + MATRICES // 128 * 20 // 8 + 2 * (ENDS + NORMS)),
    ],
)
def test_the_other_formats_follow_their_layout(kind: Format, size: int) -> None:
    assert weight_bytes(llama.LLAMA_2_7B.tensors(), kind) == size


def test_plain_weights_are_the_parameters() -> None:
    assert weight_bytes(llama.LLAMA_3_1_8B.tensors(), Plain()) == 2 * 8_030_261_248


def test_frequencies_of_positions_are_not_stored() -> None:
    freqs = Tensor("rope_freqs.weight", (64,), "f32", 256)
    assert weight_bytes([freqs], Plain()) == 0


@pytest.mark.parametrize("kind", [Int8(), Gptq(), Awq(), Mlx()])
def test_vectors_and_odd_rows_stay_in_sixteen_bits(kind: Format) -> None:
    small = [
        Tensor("blk.0.attn_norm.weight", (4096,), "f32", 0),
        Tensor("blk.0.ssm_conv1d.weight", (4, 128), "f32", 0),
        Tensor("blk.0.attn_q.bias", (128,), "f32", 0),
    ]
    assert weight_bytes(small, kind) == 2 * (4096 + 512 + 128)


def test_experts_are_matrices_each_of_its_own() -> None:
    experts = Tensor("blk.0.ffn_up_exps.weight", (256, 512, 8), "f16", 0)
    one = Tensor("blk.0.ffn_up.weight", (256, 512), "f16", 0)
    for kind in (Int8(), Gptq(), Awq(), Mlx()):
        assert weight_bytes([experts], kind) == 8 * weight_bytes([one], kind)


def layer(*, window: bool = False, attention: bool = True, owns_cache: bool = True) -> Layer:
    """Make a layer of two KV heads of 64, with a state where it has no attention."""
    return Layer(
        attention, window, not attention, 4, 2, 64, 64, 512, experts=False, owns_cache=owns_cache
    )


def shape(*layers: Layer, mla: Mla | None = None) -> Shape:
    """Make a shape with a window of 1000 and a state of 1100 elements."""
    return Shape("any", 256, 1024, 8192, layers, 0, 1000, True, None, mla, Recurrent(100, 1000))  # noqa: FBT003 - tied


@pytest.mark.parametrize(
    ("cache", "size"),
    [
        # 2 heads of 64, K and V: 256 elements a token.
        (Cache(), 4112 * 512),
        (Cache(bits=8), 4112 * 256),
        (Cache(step=256), 4352 * 512),
        (Cache(bits=8, step=256, group_size=64), 4352 * (256 + 16)),
    ],
)
def test_a_cache_is_allocated_in_steps(cache: Cache, size: int) -> None:
    assert cache_bytes(shape(layer()), 4100, cache) == size


def test_layers_keep_what_they_look_at() -> None:
    assert cache_bytes(shape(layer(window=True)), 4100, Cache()) == 1008 * 512
    assert cache_bytes(shape(layer(owns_cache=False)), 4100, Cache()) == 0
    assert cache_bytes(shape(layer(attention=False)), 4100, Cache()) == 4400


def test_latent_attention_keeps_one_row_a_token() -> None:
    latent = Mla(kv_lora_rank=512, rope_dim=64, key_length=192, value_length=128)
    assert cache_bytes(shape(layer(), mla=latent), 4096, Cache()) == 4096 * 576 * 2
