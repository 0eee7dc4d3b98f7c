"""Numbers of a header that are none, or none that a model has."""

import math

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Length, Value
from labdash.planner.file_types import find_file_type
from labdash.planner.memory.estimate import estimate
from labdash.planner.model import Model
from labdash.planner.quants import types_of
from labdash.planner.settings import Gpu, Settings
from tests.oracle import model

STRANGE: tuple[Value, ...] = (
    math.inf, -math.inf, math.nan, -1, 2**60, "many", ("a", "b"), (1, math.nan), (), Length(9),
)  # fmt: skip
KEYS = (
    "block_count", "context_length", "embedding_length", "feed_forward_length",
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "expert_count",
    "attention.sliding_window", "nextn_predict_layers",
)  # fmt: skip


def changed(**changes: Value) -> Model:
    plain = model("gemma-3-4b", "Q4_K_M")
    facts = {**plain.metadata, **{f"gemma3.{key}": given for key, given in changes.items()}}
    return Model(plain.name, plain.quant, facts, plain.tensors, "file")


@pytest.mark.parametrize("given", STRANGE, ids=str)
def test_what_is_no_count_is_refused_in_one_line(given: Value) -> None:
    for key in KEYS:
        with pytest.raises(PlannerError) as refused:
            estimate(changed(**{key: given}), Settings(build=11434))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("flash_attn", [True, False])
def test_counts_of_nothing_are_estimated_or_refused(key: str, flash_attn: bool) -> None:
    settings = Settings(build=11434, flash_attn=flash_attn, gpus=(Gpu(), Gpu()))
    try:
        answer = estimate(changed(**{key: 0}), settings)
    except PlannerError:
        return
    assert answer.devices[0].weights_bytes > 0


@pytest.mark.parametrize("given", STRANGE, ids=str)
def test_what_is_no_count_quantizes_to_the_usual_mix(given: Value) -> None:
    asked = changed(**{"expert_count": given, "attention.head_count_kv": given})
    made = types_of(asked.tensors, asked.metadata, find_file_type("Q4_K_M"))
    assert {each.type for each in made} >= {"q4_K", "q6_K", "f32"}
