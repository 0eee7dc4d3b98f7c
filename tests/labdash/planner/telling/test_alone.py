from dataclasses import replace

from labdash.planner.greedy import quick
from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.plan import Plan
from labdash.planner.telling.alone import why_not_alone
from labdash.planner.telling.stage import Stage
from tests.planning.labs import GIB, card, gpu_node, want

FIRST = want("one", "llama3.1:8b", ("Q4_K_M",), (16384, 16384))
SECOND = want("two", "qwen3:8b", ("Q4_K_M",), (16384, 16384))


def node(*sizes_gib: float) -> Node:
    cards = tuple(
        card(index, 4, total_bytes=int(size * GIB), used_bytes=0)
        for index, size in enumerate(sizes_gib)
    )
    made = gpu_node("rog", *([4] * len(sizes_gib)))
    server = replace(made.instances[0], env={"OLLAMA_KV_CACHE_TYPE": "q8_0"})
    return replace(made, cards=cards, instances=(server,))


def told(on: Node, *wanted: Deployment) -> tuple[Plan, list[str | None]]:
    here = Lab(nodes=(on,), deployments=wanted)
    plan = quick(here)
    stage = Stage(here, plan)
    return plan, [why_not_alone(stage, each) for each in plan.placements]


def test_two_that_ollama_would_let_evict_each_other_say_so_with_figures() -> None:
    plan, found = told(node(8, 8), FIRST, SECOND)
    assert {each.choice.form for each in plan.placements} == {"gpus"}
    expected = (
        "rog/0 or rog/1 alone could hold it, but not with each model on a GPU of its own: Ollama"
        " takes llama3.1:8b-q4_k_m for 6.6 GiB, more than 80 % of the 8.0 GiB that are left on"
        " rog/0, and would unload another model first."
    )
    assert found == [expected, expected]


def test_one_that_no_gpu_alone_can_hold_says_nothing() -> None:
    plan, found = told(node(5, 5), FIRST)
    assert [each.choice.form for each in plan.placements] == ["gpus"]
    assert found == [None]


def test_one_on_one_gpu_says_nothing() -> None:
    assert told(node(12, 12), FIRST)[1] == [None]


def test_one_that_lacks_memory_beside_others_says_how_much() -> None:
    small = want("low", "llama3.2:3b", ("Q8_0",), (4096, 4096), pin="rog/0", priority=1)
    other = want("high", "llama3.2:3b", ("Q6_K",), (4096, 4096), pin="rog/1", priority=1)
    long = replace(FIRST, ctx_floor=32768, ctx_wish=32768)
    plan, found = told(node(9.5, 10), small, other, long)
    assert [each.choice.form for each in plan.placements].count("gpus") == 1
    (text,) = [each for each in found if each]
    assert text.startswith("rog/0 or rog/1 alone could hold it, but rog/")
    assert " GiB for it beside " in text
