"""The guide's arithmetic: closed forms, and what follows from the measured qualities."""

import pytest

from labdash.catalog.gpus import gpus
from labdash.planner.errors import PlannerError
from labdash.planner.ggml import TYPES
from labdash.queries.guide_ladder import BEST_USE, read_ladder
from labdash.queries.guide_memory import (
    card_speeds_gbs,
    least_card_gb,
    overheads_bytes,
    ram_speeds_gbs,
    read_memory,
    read_params,
)
from labdash.queries.guide_mix import read_mix
from labdash.queries.guide_models import open_guide_model
from labdash.queries.guide_numbers import block_types, number_formats, rounding
from labdash.queries.guide_quality import find_row, read_quality, rise_a_bit

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("text", "params"), [("7B", 7e9), (" 7 b", 7e9), ("350M", 3.5e8), ("7e9", 7e9), ("1.5b", 1.5e9)]
)
def test_parameters_are_read_as_people_write_them(text: str, params: float) -> None:
    assert read_params(text) == params


@pytest.mark.parametrize("text", ["", "seven", "0", "-7B", "1e99", "nan", "inf", "7BB B", "b"])
def test_what_is_no_size_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PlannerError, match=r"^Write a number of parameters .*7B"):
        read_params(text)


def test_bits_times_parameters() -> None:
    rows = {row.label: row for row in read_memory(size="7B", name="", ctx=8192).plain}
    sizes = [row.weight_bytes / 1e9 for row in rows.values()]
    assert sizes == [28.0, 14.0, 7.0, 3.5]


def test_longer_context_takes_more_and_a_smaller_quant_less() -> None:
    short, long = (read_memory(size="", name="qwen3:8b", ctx=ctx) for ctx in (4096, 32768))
    assert long.beside.kv_bytes == 8 * short.beside.kv_bytes
    totals = [row.total_bytes for row in long.gguf]
    assert totals == sorted(totals, reverse=True)


def test_chosen_model_is_shown_with_the_file_that_is_pulled() -> None:
    rows = {row.quant: row for row in read_memory(size="", name="gpt-oss:20b", ctx=8192).gguf}
    own = rows["MXFP4_MOE"]
    assert (own.pull, own.weight_bytes, own.least_gb) == ("gpt-oss:20b", 13_780_154_624, 16)
    # Of a size alone no file is meant.
    assert "MXFP4_MOE" not in {row.quant for row in read_memory(size="20B", name="", ctx=8192).gguf}


def test_least_card_holds_what_driver_and_engine_leave() -> None:
    assert least_card_gb(7 * 2**30) != 8
    assert least_card_gb(6 * 2**30) == 8
    assert least_card_gb(10**12) is None


def test_least_card_is_no_board_that_shares_the_memory_of_its_cpu() -> None:
    ours = [gpu for gpu in gpus() if gpu.vendor == "nvidia"]
    sold = {size for gpu in ours if not gpu.unified for size in gpu.vram_gb}
    assert {size for gpu in ours if gpu.unified for size in gpu.vram_gb} - sold >= {64}
    found = {least_card_gb(gib * 2**30) for gib in range(1, 200)} - {None}
    assert found <= sold


def test_ranges_of_the_prose_are_those_of_the_usual_machines() -> None:
    cards, ram, overheads = card_speeds_gbs(), ram_speeds_gbs(), overheads_bytes()
    # Makers' figures: RTX 4060 and RTX 5090; DDR4-3200 in one channel, DDR5-5600 in two.
    assert (cards.low, cards.high) == (272, 1792)
    assert (ram.low, ram.high) == (25.6, 89.6)
    assert 100 * 2**20 < overheads.low < overheads.high < 700 * 2**20


def test_loss_rises_faster_where_bits_are_few() -> None:
    usual = rise_a_bit(find_row("Q5_K_M"), find_row("Q3_K_M"))
    assert 2.5 < usual < 3.5 < rise_a_bit(find_row("IQ2_M"), find_row("IQ1_S"))


def test_number_formats_are_those_of_the_standards() -> None:
    formats = {each.name: each for each in number_formats()}
    assert formats["FP16"].largest == "±65,504"
    assert formats["BF16"].largest.startswith("±3.4 ")
    assert formats["INT8"].largest == "\N{MINUS SIGN}128 … 127"
    assert [each.bits for each in formats.values()] == [32, 16, 16, 8, 4]


def test_groups_keep_what_their_type_says() -> None:
    for each in block_types():
        assert 0 < each.scale_bits < each.block * each.number_bits
        assert each.block == TYPES[each.name].block


def test_outlier_harms_a_row_with_one_scale_most() -> None:
    found = rounding()
    assert found.by_row_with_outlier > 4 * found.by_row
    assert found.by_group_with_outlier < 1.3 * found.by_group


def test_dominated_types_lose_more_in_no_fewer_bytes() -> None:
    rows = {row.quant: row for row in read_quality()}
    assert rows["Q4_1"].is_dominated
    assert not rows["Q4_K_M"].is_dominated
    assert not rows["IQ1_S"].is_dominated


def test_mix_of_q4_k_m_protects_values_and_output() -> None:
    plain = open_guide_model("llama3.1:8b").plain
    mix = read_mix(plain, "Q4_K_M")
    assert round(mix.bits, 4) == 4.8944
    guarded = {part.label for part in mix.parts if part.is_protected}
    assert guarded == {"Attention: values", "Feed forward: down", "Output head"}
    assert sum(part.share for part in mix.parts) == pytest.approx(1, abs=1e-3)


def test_ladder_tells_the_file_that_its_button_pulls() -> None:
    _, rungs = read_ladder("gpt-oss:20b")
    rung = next(each for each in rungs if each.quant == "MXFP4_MOE")
    # The catalog's record of Ollama's file, and llama-quantize's rules: attention in 8 bits there.
    assert (rung.pull, rung.file_bytes) == ("gpt-oss:20b", 13_780_154_624)
    assert rung.made_bytes / 1e9 == pytest.approx(12.1, abs=0.05)
    assert rung.is_other_mix
    assert rung.least_gb == 16


@pytest.mark.parametrize(
    ("model", "quant", "larger", "card_gb"),
    [
        ("qwen3:32b", "IQ3_XXS", "IQ3_XS", 16),
        ("llama3.3:70b", "IQ2_XS", "IQ2_M", 24),
        ("llama3.3:70b", "IQ2_XXS", "IQ2_M", 24),
    ],
)
def test_best_use_that_names_a_card_is_so(
    model: str, quant: str, larger: str, card_gb: int
) -> None:
    assert f"{model.partition(':')[2].upper()} model on {card_gb} GB" in BEST_USE[quant]
    least = {rung.quant: rung.least_gb for rung in read_ladder(model)[1]}
    assert (least[quant] or 0) <= card_gb < (least[larger] or 0)


def test_steps_that_nobody_publishes_are_made() -> None:
    _, rungs = read_ladder("qwen3:8b")
    made = {rung.quant for rung in rungs if not rung.is_pulled}
    assert made == {"F32", "BF16", "MXFP4_MOE", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0"}


def test_plain_formats_lead_to_the_type_that_keeps_weights_so() -> None:
    rows = {row.label: row for row in read_memory(size="", name="qwen3:8b", ctx=8192).plain}
    assert rows["INT8"].pull == "qwen3:8b-q8_0"
    assert rows["INT4"].pull == "hf.co/unsloth/Qwen3-8B-GGUF:Q4_0"
    assert "--outtype f32 " in rows["FP32"].command
    assert not rows["FP32"].pull
    quants = {each.name: each.quant for each in number_formats()}
    assert quants == {"FP32": "F32", "FP16": "F16", "BF16": "BF16", "INT8": "Q8_0", "INT4": "Q4_0"}


def test_groups_lead_to_the_usual_file_with_that_base() -> None:
    quants = [each.quant for each in block_types()]
    assert quants == ["Q4_0", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q3_K_M", "Q2_K"]


def test_ladder_greys_what_was_measured_alone() -> None:
    _, rungs = read_ladder("llama3.1:8b")
    greyed = [rung for rung in rungs if rung.is_dominated]
    assert greyed
    assert all(rung.measured for rung in greyed)
    bits = [rung.bits for rung in rungs]
    assert bits == sorted(bits, reverse=True)


def test_published_file_is_parted_from_what_reads_images_in_it() -> None:
    """Its five bits are by the rules, of the weights alone: they are no smaller than four."""
    found = read_memory(size="", name="qwen2.5vl:7b", ctx=8192)
    rows = {row.label: row for row in found.gguf}
    assert rows["Q4_K_M"].weight_bytes < rows["Q5_K_M"].weight_bytes
    parts = {part.label: part.size_bytes for part in rows["Q4_K_M"].parts}
    assert parts["reads images, about"] == found.beside.images_bytes > 0
    assert rows["Q4_K_M"].total_bytes == sum(parts.values())
