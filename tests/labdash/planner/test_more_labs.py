"""What the owners of four further labs measured: splits, loads by turns, and one pool of memory.

Facts are those that the head of a file (tests/fixtures/labs) marks measured or as a rule.
"""

import pytest

from labdash.planner.memory.weights import parts_of
from tests.planning.real_labs import cache_bytes, chosen, real_plan, wanted

MIB = 1 << 20
GB = 1e9
ALL = ("11", "12", "13", "14")


def size(number: str, name: str) -> int:
    """Return what `ollama ps` would call a model's size."""
    return sum(chosen(number, name).bytes.values())


@pytest.mark.parametrize("number", ALL)
def test_all_is_served_and_no_memory_is_exceeded(number: str) -> None:
    plan = real_plan(number)
    assert (plan.status, plan.refusals) == ("optimal", ())
    for device in plan.devices:
        if device.total_bytes is not None:
            assert device.reserved_bytes + device.planned_bytes <= device.total_bytes


# --- 11: three cards of 12 GB, Ollama 0.13 -------------------------------------------------------


def test_11_layers_and_cache_are_as_large_as_the_log_lists() -> None:
    model = wanted("11", "qwen3:32b").variants[0].model
    parts = parts_of(model, ())
    # Files of the library that Ollama quantized itself keep some tensors at 16 bits.
    sizes = sorted({block.gpu for block in parts.blocks})
    assert sizes == pytest.approx([281_846_784, 315_638_784], rel=0.03)
    assert parts.output.gpu == pytest.approx(638_151_680, rel=0.001)
    assert cache_bytes(wanted("11", "qwen3:32b"), 16_384) == 64 * 67_108_864


def test_11_the_old_engine_balances_the_layers_over_all_cards() -> None:
    choice = chosen("11", "qwen3:32b")
    assert (choice.form, choice.cpu_layers) == ("gpus", 0)
    assert [choice.layers[f"ai/{gpu}"] for gpu in range(3)] == [22, 22, 21]


# --- 12: a card of 16 GB, Ollama 0.15, five models by turns ---------------------------------------


@pytest.mark.parametrize(("name", "gb"), [("gpt-oss:20b", 14), ("qwen3:14b", 12)])
def test_12_the_small_ones_are_whole_on_the_card(name: str, gb: int) -> None:
    assert chosen("12", name).form == "gpu"
    # Of what is whole on a GPU, Ollama leaves out what lies beside it.
    assert chosen("12", name).bytes["pc/0"] == pytest.approx(gb * GB, rel=0.05)


@pytest.mark.parametrize(
    ("name", "gb", "share"),
    [
        ("qwen3-vl:30b-a3b", 22, 0.70),
        ("devstral-small-2:24b", 19, 0.82),
        ("gpt-oss:120b", 66, 0.22),
    ],
)
def test_12_the_large_ones_fill_the_card_and_leave_the_rest(
    name: str, gb: int, share: float
) -> None:
    choice = chosen("12", name)
    assert choice.form == "partial"
    assert size("12", name) == pytest.approx(gb * GB, rel=0.07)
    assert choice.bytes["pc/0"] / size("12", name) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    ("name", "speed"),
    [
        ("gpt-oss:20b", 139.9),
        ("qwen3:14b", 61.9),
        ("qwen3-vl:30b-a3b", 51.0),
        ("devstral-small-2:24b", 18.7),
        ("gpt-oss:120b", 12.6),
    ],
)
def test_12_they_answer_as_fast_as_was_measured(name: str, speed: float) -> None:
    assert chosen("12", name).tokens_per_s == pytest.approx(speed, rel=0.25)


# --- 13: 96 GB in one pool -----------------------------------------------------------------------


def test_13_the_weights_are_as_large_as_the_log_lists() -> None:
    parts = parts_of(wanted("13", "gpt-oss:120b").variants[0].model, ())
    on_gpu = sum(block.gpu for block in parts.blocks) + parts.output.gpu
    assert on_gpu / MIB == pytest.approx(61_223.74, abs=0.01)


def test_13_the_full_context_fits_the_pool() -> None:
    choice = chosen("13", "gpt-oss:120b")
    assert (choice.form, choice.ctx, choice.layers) == ("gpu", 131_072, {"halo/0": 37})
    assert size("13", "gpt-oss:120b") == pytest.approx(68 * GB, rel=0.05)
    assert choice.tokens_per_s == pytest.approx(35, rel=0.2)


# --- 14: a card of 8 GB, four models by turns ----------------------------------------------------


@pytest.mark.parametrize(("name", "speed"), [("llama3.2:3b", 140.3), ("qwen2.5:7b", 77.0)])
def test_14_the_small_ones_are_whole_on_the_card(name: str, speed: float) -> None:
    choice = chosen("14", name)
    assert choice.form == "gpu"
    assert choice.tokens_per_s == pytest.approx(speed, rel=0.2)


@pytest.mark.parametrize(("name", "least"), [("gemma2:9b", 36), ("qwen2.5:14b", 34)])
def test_14_the_large_ones_have_most_layers_there_and_drive_others_out(
    name: str, least: int
) -> None:
    choice = chosen("14", name)
    assert (choice.form, choice.num_gpu) == ("partial", None)
    assert choice.layers["box/0"] >= least


def test_14_layers_on_the_cpu_cost_most_of_the_speed() -> None:
    large, small = chosen("14", "qwen2.5:14b"), chosen("14", "qwen2.5:7b")
    assert large.tokens_per_s == pytest.approx(20.8, rel=0.25)
    assert (large.tokens_per_s or 0) < (small.tokens_per_s or 0) / 2
