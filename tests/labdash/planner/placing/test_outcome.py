"""What a server was told about experts and shares, in what comes of a load."""

import pytest

from labdash.planner.lab import Lab
from labdash.planner.placement import choices, why_none
from labdash.planner.plan import Choice
from tests.labdash.planner.small_labs import deployment, lab, node, variant

GIB = 1 << 30
MIXED, LARGE = variant("qwen3:30b-a3b"), variant("llama3.3:70b")


def told(*gib: float, **env: str) -> Lab:
    return lab(node("rog", *gib, env=env))


def left(**env: str) -> Choice:
    """Return what the engine makes of a mixture on one card that could hold it all."""
    wanted = deployment(MIXED, offload_allowed=True, ctx_floor=8192, ctx_wish=8192)
    found = choices(told(24.0, **env), wanted)
    return next(each for each in found if each.num_gpu is None)


def test_all_experts_stay_on_the_host_where_the_server_was_told_so() -> None:
    choice = left(LLAMA_ARG_CPU_MOE="1")
    assert (choice.form, choice.cpu_layers, choice.layers["rog/0"]) == ("partial", 48, 1)
    assert choice.bytes["rog/0"] < 4 * GIB
    assert choice.host_bytes > 15 * GIB


def test_experts_of_the_first_blocks_stay_on_the_host() -> None:
    choice = left(LLAMA_ARG_N_CPU_MOE="20")
    assert (choice.form, choice.cpu_layers, choice.layers["rog/0"]) == ("partial", 20, 29)
    assert choice.tokens_per_s
    assert choice.tokens_per_s > (left(LLAMA_ARG_CPU_MOE="on").tokens_per_s or 0)


@pytest.mark.parametrize("env", [{}, {"LLAMA_ARG_CPU_MOE": "0"}, {"LLAMA_ARG_N_CPU_MOE": "x"}])
def test_nothing_stays_there_otherwise(env: dict[str, str]) -> None:
    assert left(**env).form == "gpu"


def test_a_dense_model_has_no_experts_to_leave() -> None:
    found = choices(told(24.0, LLAMA_ARG_CPU_MOE="1"), deployment(variant("qwen3:14b")))
    assert {each.form for each in found} == {"gpu"}


def test_who_must_not_use_the_cpu_gets_no_place_there() -> None:
    where, wanted = told(24.0, LLAMA_ARG_CPU_MOE="1"), deployment(MIXED)
    assert choices(where, wanted) == ()
    blocked = why_none(where, wanted)
    assert blocked.limit == "instance"
    assert "leaves experts to the CPU" in blocked.text


@pytest.mark.parametrize(("split", "layers"), [("", [41, 40]), ("3,5", [31, 50]), ("x", [41, 40])])
def test_layers_are_shared_out_as_the_server_was_told(split: str, layers: list[int]) -> None:
    where = told(48.0, 48.0, LLAMA_ARG_TENSOR_SPLIT=split)
    found = choices(where, deployment(LARGE, ctx_floor=8192, ctx_wish=8192))
    joined = next(each for each in found if each.form == "gpus")
    assert [joined.layers["rog/0"], joined.layers["rog/1"]] == layers
