"""What is read for a token."""

from typing import TYPE_CHECKING

import pytest

from labdash.planner.ggml import tensor_bytes
from labdash.planner.model import Model, Tensor
from labdash.planner.reading import (
    Context,
    Device,
    Placed,
    bytes_read_per_layer,
    cache_read_per_layer,
    generation_parts,
    i_quant_share,
    read_model,
)
from labdash.planner.shape import Layer, Mla, Recurrent, Shape

if TYPE_CHECKING:
    from labdash.planner.facts import Value

EMBD, VOCAB, FF, EXPERTS, USED = 256, 1024, 512, 8, 2
GPU = Device("GPU0", "nvidia", 936)
CPU = Device("host", "cpu", 50)


def tensor(name: str, *shape: int, kind: str = "q8_0") -> Tensor:
    """Make a tensor of which only the size matters."""
    return Tensor(name, shape, kind, tensor_bytes(kind, shape))


def block(index: int, *, experts: bool) -> list[Tensor]:
    """Make a block of two heads, with experts or without."""
    start = f"blk.{index}."
    parts = [tensor(f"{start}attn_{each}.weight", EMBD, EMBD) for each in ("q", "k", "v", "output")]
    parts.append(tensor(f"{start}attn_norm.weight", EMBD, kind="f32"))
    if not experts:
        return [*parts, tensor(f"{start}ffn_up.weight", EMBD, FF)]
    return [
        *parts,
        tensor(f"{start}ffn_gate_inp.weight", EMBD, EXPERTS, kind="f32"),
        tensor(f"{start}ffn_up_exps.weight", EMBD, FF, EXPERTS),
        tensor(f"{start}ffn_up_shexp.weight", EMBD, FF),
    ]


def model(*, tied: bool = False, experts: bool = False, nextn: int = 0) -> Model:
    """Make a model of three blocks."""
    arch = "qwen3moe" if experts else "llama"
    facts: dict[str, Value] = {
        "block_count": 3,
        "embedding_length": EMBD,
        "context_length": 4096,
        "feed_forward_length": FF,
        "attention.head_count": 2,
        "attention.head_count_kv": 2,
        "nextn_predict_layers": nextn,
    }
    if experts:
        facts |= {"expert_count": EXPERTS, "expert_used_count": USED}
        facts |= {"expert_feed_forward_length": FF}
    tensors = [tensor("token_embd.weight", EMBD, VOCAB), tensor("output_norm.weight", EMBD)]
    if not tied:
        tensors.append(tensor("output.weight", EMBD, VOCAB))
    for index in range(3):
        tensors += block(index, experts=experts)
    metadata = {f"{arch}.{key}": value for key, value in facts.items()}
    metadata["general.architecture"] = arch
    return Model("made", "Q8_0", metadata, tuple(tensors), "file")


ATTENTION = 4 * EMBD * EMBD * 34 // 32 + EMBD * 4
UP = EMBD * FF * 34 // 32
OUTPUT = EMBD * VOCAB * 34 // 32 + EMBD * 34 // 32


@pytest.mark.parametrize("tied", [False, True])
def test_all_weights_are_read_but_the_table_of_embeddings(tied: bool) -> None:
    read = bytes_read_per_layer(model(tied=tied))
    assert read == [ATTENTION + UP] * 3 + [OUTPUT]


def test_of_the_experts_only_those_in_use_are_read() -> None:
    router = EMBD * EXPERTS * 4
    read = bytes_read_per_layer(model(experts=True))
    assert read == [ATTENTION + router + UP * USED + UP] * 3 + [OUTPUT]


def test_blocks_that_predict_further_tokens_are_not_read() -> None:
    assert bytes_read_per_layer(model(nextn=1))[2:] == [0, OUTPUT]


def test_a_pattern_picks_what_lies_elsewhere() -> None:
    read = bytes_read_per_layer(model(experts=True), only=r"blk\.1\.ffn_.*_exps")
    assert read == [0, UP * USED, 0, 0]


def layer(*, attention: bool = True, window: bool = False, recurrent: bool = False) -> Layer:
    """Make a layer of two KV heads of 64."""
    return Layer(attention, window, recurrent, 4, 2, 64, 64, FF, experts=False)


def shape(
    *layers: Layer, mla: Mla | None = None, recurrent: Recurrent | None = None, nextn: int = 0
) -> Shape:
    """Make a shape with a window of 1024."""
    return Shape("any", EMBD, VOCAB, 8192, layers, nextn, 1024, False, None, mla, recurrent)  # noqa: FBT003 - tied


@pytest.mark.parametrize(
    ("tokens", "read"), [(512, [512 * 512, 512 * 512, 0]), (8192, [8192 * 512, 1024 * 512, 0])]
)
def test_a_windowed_layer_reads_its_window(tokens: int, read: list[int]) -> None:
    assert cache_read_per_layer(shape(layer(), layer(window=True)), Context(tokens)) == read


def test_a_quantized_cache_is_read_as_it_is_stored() -> None:
    context = Context(1000, type_k="q8_0", type_v="q4_0")
    assert cache_read_per_layer(shape(layer()), context) == [1000 * (136 + 72), 0]


def test_latent_attention_reads_one_row_a_token() -> None:
    latent = Mla(kv_lora_rank=512, rope_dim=64, key_length=192, value_length=128)
    assert cache_read_per_layer(shape(layer(), mla=latent), Context(100)) == [100 * 576 * 2, 0]


def test_a_state_is_read_and_written_whatever_the_context() -> None:
    state = shape(layer(attention=False, recurrent=True), recurrent=Recurrent(100, 1000), nextn=1)
    for tokens in (1, 8192):
        assert cache_read_per_layer(state, Context(tokens)) == [2 * 4 * 1100, 0, 0]


def test_each_device_reads_its_layers_and_their_cache() -> None:
    row = 2 * EMBD * 2
    placement = [Placed(CPU, [0]), Placed(GPU, [1, 2, 3]), Placed(GPU, [])]
    parts, hops = generation_parts(read_model(model()), placement, Context(100))
    assert [part.read_bytes for part in parts] == [
        ATTENTION + UP + 100 * row,
        2 * (ATTENTION + UP + 100 * row) + OUTPUT,
    ]
    assert ([part.layers for part in parts], hops) == ([1, 3], 1)


def test_overridden_tensors_are_read_by_the_host_with_two_hops_a_block() -> None:
    placement = [Placed(GPU, [0, 1, 2, 3])]
    whole, _ = generation_parts(read_model(model(experts=True)), placement, Context(0))
    reading = read_model(model(experts=True), cpu_override=r"blk\.(1|2)\.ffn_.*_exps")
    parts, hops = generation_parts(reading, placement, Context(0), host=CPU)
    assert [part.speed_class for part in parts] == ["nvidia", "cpu"]
    assert parts[1].read_bytes == 2 * UP * USED
    assert sum(part.read_bytes for part in parts) == whole[0].read_bytes
    assert hops == 4


def test_the_share_of_code_book_types_is_by_bytes() -> None:
    tensors = [tensor("a", 256, kind="iq2_xs"), tensor("b", 256, kind="iq4_xs")]
    assert i_quant_share(tensors) == 74 / (74 + 136)
    assert i_quant_share([]) == 0
