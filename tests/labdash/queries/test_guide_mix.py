"""Mixes by part: which are protected, and the command that keeps one of them in more bits."""

import pytest

from labdash.planner.file_types import FILE_TYPES
from labdash.planner.model import place_of
from labdash.queries.guide_ladder import read_ladder
from labdash.queries.guide_making import CONVERTED, make_command
from labdash.queries.guide_mix import Mix, bits_of, read_mix
from labdash.queries.guide_models import open_guide_model

pytestmark = pytest.mark.django_db


def mix_of(name: str, quant: str) -> Mix:
    return read_mix(open_guide_model(name).plain, quant)


def test_table_of_tokens_that_is_the_head_too_is_kept_as_a_head() -> None:
    tied, apart = mix_of("llama3.2:1b", "Q4_K_M"), mix_of("llama3.1:8b", "Q4_K_M")
    assert (tied.is_tied, apart.is_tied) == (True, False)
    assert tied.head == tied.embeddings
    assert tied.head
    assert (tied.head.types, tied.head.is_protected) == ("q6_K", True)
    assert apart.embeddings
    assert not apart.embeddings.is_protected


def test_part_is_kept_in_more_bits_by_the_option_for_it() -> None:
    commands = {part.label: part.command for part in mix_of("llama3.1:8b", "Q4_K_M").parts}
    files = "model-BF16.gguf model-Q4_K_M.gguf Q4_K_M"
    assert commands["Token embeddings"] == f"llama-quantize --token-embedding-type q5_K {files}"
    assert commands["Output head"] == f"llama-quantize --output-tensor-type q8_0 {files}"
    values = commands["Attention: values"]
    assert values == f"llama-quantize --tensor-type attn_v.weight=q6_K {files}"


@pytest.mark.parametrize("name", ["llama3.1:8b", "mixtral:8x7b", "deepseek-r1:671b"])
@pytest.mark.parametrize("quant", ["Q4_K_M", "Q3_K_M", "IQ1_S", "Q8_0"])
def test_no_layer_gets_fewer_bits_by_the_command(name: str, quant: str) -> None:
    for part in mix_of(name, quant).parts:
        kinds = [each.partition(" ")[0] for each in part.types.split(", ")]
        assert bits_of(part.wider) >= max(map(bits_of, kinds))
        assert bits_of(part.wider) > part.bits


def test_type_that_wants_a_matrix_is_made_with_one() -> None:
    assert all("--imatrix" in part.command for part in mix_of("llama3.1:8b", "IQ1_S").parts)
    assert not any("--imatrix" in part.command for part in mix_of("llama3.1:8b", "Q2_K").parts)


@pytest.mark.parametrize("name", ["llama3.1:8b", "qwen3:30b"])
def test_mix_has_the_bits_that_its_ladder_tells(name: str) -> None:
    model, rungs = read_ladder(name)
    told = {rung.quant: rung.bits for rung in rungs if rung.quant not in CONVERTED}
    found = {quant: read_mix(model.plain, quant) for quant in told}
    assert {quant: mix.bits for quant, mix in found.items()} == told
    matrices = {"IQ4_XS": "with", "IQ1_S": "with", "Q4_K_M": "with or without", "Q4_0": "without"}
    assert {quant: found[quant].matrix for quant in matrices} == matrices


def test_type_that_differs_with_a_matrix_is_made_as_it_is_told() -> None:
    assert all("--imatrix" in part.command for part in mix_of("llama3.1:8b", "IQ4_XS").parts)


def test_types_that_want_a_matrix_are_those_that_the_guide_names() -> None:
    _, rungs = read_ladder("llama3.1:8b")
    wanting = {rung.quant for rung in rungs if rung.wants_imatrix}
    # "Q2_K_S, and the IQ types from IQ3_XS down".
    first = next(rung.bits for rung in rungs if rung.quant == "IQ3_XS")
    below = {each.quant for each in rungs if each.bits <= first and each.quant.startswith("IQ")}
    assert wanting == {"Q2_K_S", *below}


def test_experts_count_without_their_biases() -> None:
    parts = {part.label: part for part in mix_of("gpt-oss:20b", "MXFP4_MOE").parts}
    assert parts["Feed forward: down"].types == "mxfp4 \N{MULTIPLICATION SIGN} 24"


def test_attention_of_compressed_caches_is_told_too() -> None:
    plain = open_guide_model("deepseek-r1:671b").plain
    mix = mix_of("deepseek-r1:671b", "Q4_K_M")
    labels = [part.label for part in mix.attention]
    assert {"Attention: keys", "Attention: values"} <= set(labels), {
        place_of(each.name)[1] for each in plain.tensors
    }
    assert sum(part.share for part in mix.parts) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("quant", FILE_TYPES)
def test_every_type_has_a_command_that_makes_it(quant: str) -> None:
    made = make_command(quant)
    assert f"model-{quant}.gguf" in made
    assert made.startswith(
        "python convert_hf_to_gguf.py" if quant in CONVERTED else "llama-quantize "
    )
