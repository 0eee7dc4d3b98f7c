"""How fast the ways to serve deployments are listed, and loads settled, on one core."""

import time
from collections.abc import Callable
from random import Random

import pytest

from labdash.planner import placement
from labdash.planner.loading import Pick, settle
from tests.figures import Tell
from tests.labdash.planner.small_labs import deployment, lab, node, variant

pytestmark = pytest.mark.long

QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
MODELS = ("qwen3:14b", "qwen3:8b", "llama3.1:8b", "gemma3:27b", "qwen3:32b")
SETTLED = 300


def seconds(run: Callable[[], object]) -> float:
    """Run once and return the CPU time that it took."""
    began = time.process_time()
    run()
    return time.process_time() - began


def test_choices_of_one_deployment_on_forty_gpus(tell: Tell) -> None:
    wanted = deployment(*(variant("qwen3:14b", quant) for quant in ("Q8_0", "Q6_K", "Q4_K_M")))
    where = lab(*(node(f"n{number}", *(24.0,) * 4) for number in range(10)))
    cold = seconds(lambda: placement.choices(where, wanted))
    placement.profiles.cache_clear()
    warm = seconds(lambda: placement.choices(where, wanted))
    tell("choices on 40 GPUs", f"{warm * 1000:.0f} ms, cold {cold * 1000:.0f}", goal="30 ms")


def test_five_hundred_deployments_on_eight_hundred_gpus(tell: Tell) -> None:
    wanted = [
        deployment(
            *(variant(MODELS[number % len(MODELS)], quant) for quant in QUANTS),
            name=f"d{number}",
            offload_allowed=number % 4 == 0,
        )
        for number in range(500)
    ]
    where = lab(*(node(f"n{number}", *(24.0,) * 8) for number in range(100)), wanted=tuple(wanted))
    took = seconds(lambda: [placement.profiles(where, each) for each in wanted])
    tell("500 deployments on 800 GPUs", f"{took:.1f} s", goal="10 s")


def test_ten_loads_on_a_node_of_eight_gpus(tell: Tell) -> None:
    where = node("rog", *(24.0,) * 8)
    chance = Random(1)  # noqa: S311 - any numbers do
    wanted = [
        deployment(variant(model, quant), name=f"{model} {quant}", ctx_wish=16_384)
        for model in MODELS
        for quant in QUANTS[2:]
    ]
    made = {each.name: placement.choices(lab(where), each) for each in wanted}
    sets = [
        [Pick(deployment=each, replica=0, choice=chance.choice(made[each.name])) for each in wanted]
        for _ in range(SETTLED)
    ]
    took = seconds(lambda: [settle(where, picks) for picks in sets])
    again = seconds(lambda: [settle(where, picks) for picks in sets])
    text = f"{took / SETTLED * 1e3:.2f} ms, again {again / SETTLED * 1e6:.0f} us"
    tell("ten loads settled", text, goal="5 ms")
