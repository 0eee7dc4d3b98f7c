from dataclasses import replace
from typing import Any

import pytest

from labdash.planner import proposals as proposals_module
from labdash.planner.greedy import quick
from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.placement import choices
from labdash.planner.plan import Plan, Proposal
from labdash.planner.proposals import LIMIT_S, proposed
from labdash.planner.telling.second import shared_folder
from tests.planning.choices import placed, plan_of, refused
from tests.planning.labs import GIB, card, gpu_node, want

BIG = want("big", "llama3.1:8b", ("Q5_K_M",), (16384, 16384))


def node(*sizes_gib: float, env: dict[str, str] | None = None) -> Node:
    cards = tuple(
        card(index, 4, total_bytes=int(size * GIB), used_bytes=0)
        for index, size in enumerate(sizes_gib)
    )
    made = gpu_node("rog", *([4] * len(sizes_gib)))
    server = replace(made.instances[0], env=env or {}, url="http://rog:11434")
    return replace(made, cards=cards, instances=(server,))


def proposals(*wanted: Deployment, on: Node) -> tuple[Proposal, ...]:
    here = Lab(nodes=(on,), deployments=wanted)
    return proposed(here, quick(here))


def of_lines(found: tuple[Proposal, ...], start: str) -> Proposal:
    return next(each for each in found if each.lines[0].startswith(start))


def test_a_smaller_cache_is_proposed_where_it_lets_another_in() -> None:
    (found, *_) = proposals(BIG, on=node(8))
    assert found.kind == "environment"
    assert found.instance == "rog:11434"
    assert found.lines == ("OLLAMA_KV_CACHE_TYPE=q8_0", "OLLAMA_FLASH_ATTENTION=1")
    assert found.text == (
        "With OLLAMA_KV_CACHE_TYPE=q8_0 and OLLAMA_FLASH_ATTENTION=1 on rog:11434 and a restart of"
        " that Ollama, also big fits."
    )
    assert found.gains == ("big is served: Q5_K_M at 16k on rog/0 (rog:11434).",)


def test_more_context_is_a_gain_too() -> None:
    wanted = replace(BIG, ctx_floor=4096, ctx_wish=32768)
    found = of_lines(proposals(wanted, on=node(9)), "OLLAMA_KV")
    assert "big gets more" in found.text
    assert found.gains[0].startswith("big: context 32k instead of 16k")


def test_a_smaller_cache_is_not_proposed_to_who_must_not_have_it() -> None:
    found = proposals(replace(BIG, kv_types=("f16",)), on=node(8))
    assert not [each for each in found if each.lines[0].startswith("OLLAMA_KV")]


def test_one_slot_is_proposed_where_more_take_too_much() -> None:
    found = proposals(BIG, on=node(12, env={"OLLAMA_NUM_PARALLEL": "4"}))
    assert of_lines(found, "OLLAMA_NUM_PARALLEL").lines == ("OLLAMA_NUM_PARALLEL=1",)


def test_a_smaller_margin_is_proposed_with_what_it_costs() -> None:
    found = of_lines(proposals(BIG, on=node(8)), "LLAMA_ARG_FIT_TARGET")
    assert found.lines == ("LLAMA_ARG_FIT_TARGET=512",)
    assert found.text.endswith("Less stays free for what nobody foresees: 0.5 GiB.")


def test_a_second_server_is_proposed_where_one_runner_binds() -> None:
    first = want("first", "llama3.2:1b", ("Q8_0",), (2048, 2048), priority=1)
    second = replace(first, name="second", priority=2, ctx_floor=8192, ctx_wish=8192)
    (found, *_) = proposals(first, second, on=node(12))
    assert found.kind == "second instance"
    assert found.instance == "rog:11435"
    assert found.lines == (
        "OLLAMA_HOST=0.0.0.0:11435", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=0",
        "OLLAMA_NOPRUNE=1",
    )  # fmt: skip
    assert found.text == (
        "With a second Ollama on rog (rog:11435, for rog/0 too), also second fits."
        f" {shared_folder(node(12).instances[0])}"
    )


SPLIT = (
    want("one", "llama3.1:8b", ("Q4_K_M",), (4096, 32768)),
    want("two", "qwen3:8b", ("Q4_K_M",), (4096, 32768)),
)
SMALL_CACHE = {"OLLAMA_KV_CACHE_TYPE": "q8_0"}


def test_a_server_for_each_gpu_is_proposed_where_ollama_would_evict() -> None:
    (found,) = proposals(*SPLIT, on=node(9, 9, env=SMALL_CACHE))
    assert (found.kind, found.instance) == ("second instance", "rog:11434")
    assert found.lines == (
        "# rog:11434, as it is, for rog/0",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=0", "OLLAMA_VULKAN=0",
        "# rog:11435, a further Ollama, for rog/1",
        "OLLAMA_HOST=0.0.0.0:11435", "OLLAMA_KV_CACHE_TYPE=q8_0",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=1", "OLLAMA_VULKAN=0",
        "OLLAMA_NOPRUNE=1",
    )  # fmt: skip
    assert found.text.startswith(
        "With one Ollama for each GPU of rog (rog:11434 for rog/0 and rog:11435 for rog/1), "
    )
    assert "80 % of what is free" in found.text
    (gain,) = found.gains
    assert gain.split(": ")[1].startswith("context 32k instead of")


def test_servers_for_each_gpu_are_not_proposed_where_memory_is_what_binds() -> None:
    found = proposals(replace(BIG, ctx_wish=65536), on=node(8.6, 8.6))
    assert [each.kind for each in found if "for each GPU" in each.text] == []


def test_of_the_ways_to_part_the_gpus_only_the_best_is_proposed() -> None:
    third = want("three", "llama3.2:3b", ("Q8_0",), (4096, 8192))
    found = proposals(*SPLIT, third, on=node(9, 9, 9, env=SMALL_CACHE))
    assert len([each for each in found if each.lines[0].startswith("#")]) == 1


LARGE = want("large", "llama3.1:8b", ("Q8_0", "Q4_K_M"), (4096, 32768), priority=3)


def after(losing: Deployment, gaining: Deployment, **less: Any) -> tuple[Proposal, ...]:
    """Return what is proposed where the one gets less as soon as the other is served."""
    here = Lab(nodes=(node(8, 8),), deployments=(losing, gaining))
    best, least = (choices(here, losing)[place] for place in (0, -1))
    lost = replace(best, **less) if less else least
    other = choices(here, gaining)[0]
    before = plan_of(placed(losing, best), refusals=(refused(gaining),))
    served = before.score.served[0]
    better = replace(
        plan_of(placed(losing, lost), placed(gaining, other)),
        score=replace(before.score, served=(served + 1,)),
    )
    return proposed(here, before, replan=lambda _: better)


@pytest.mark.parametrize(("less", "lost"), [
    ({"ctx": 4096}, "context 4k instead of 32k"),
    ({"tokens_per_s": 1.0}, "about 1.0 tokens/s instead of "),
    ({"variant": LARGE.variants[1]}, "Q4_K_M instead of Q8_0"),
])  # fmt: skip
def test_what_gets_worse_is_told_beside_what_gains(less: dict[str, Any], lost: str) -> None:
    found, *_ = after(replace(LARGE, priority=3), replace(BIG, priority=2), **less)
    assert [each.partition(" is served")[0] for each in found.gains] == ["big"]
    (loss,) = found.losses
    assert loss.startswith("large: ")
    assert lost in loss
    assert ", also big fits and large gets less" in found.text


def test_what_is_served_no_more_is_told() -> None:
    here = Lab(nodes=(node(8, 8),), deployments=(LARGE, BIG))
    one, other = (choices(here, each)[0] for each in (LARGE, BIG))
    before = plan_of(placed(LARGE, one), refusals=(refused(BIG),))
    swapped = plan_of(placed(BIG, other), refusals=(refused(LARGE),))
    better = replace(swapped, score=replace(before.score, value=before.score.value + 1))
    found, *_ = proposed(here, before, replan=lambda _: better)
    assert found.losses[0].startswith("large is no longer served: ")
    assert ", also big fits and large is no longer served" in found.text


def test_what_is_better_in_one_way_and_worse_in_another_is_a_price() -> None:
    less = {"ctx": 65536, "variant": LARGE.variants[1]}
    found, *_ = after(replace(LARGE, priority=3), replace(BIG, priority=2), **less)
    assert "large gets more in one way and less in another" in found.text
    assert found.losses[0].startswith("large: ")


@pytest.mark.parametrize("less", [{"ctx": 4096}, {"variant": LARGE.variants[1]}])
def test_nothing_is_proposed_for_which_a_more_important_one_goes_short(
    less: dict[str, Any],
) -> None:
    first = replace(LARGE, priority=1)
    assert after(first, replace(BIG, priority=2), **less) == ()
    assert after(first, replace(BIG, priority=1), **less)


def test_what_only_slows_a_more_important_one_is_proposed_with_that() -> None:
    found, *_ = after(replace(LARGE, priority=1), replace(BIG, priority=2), tokens_per_s=1.0)
    assert found.losses


def test_a_limit_of_models_is_raised_where_it_binds() -> None:
    first = want("first", "llama3.2:1b", ("Q8_0",), (2048, 2048), priority=1)
    second = want("second", "llama3.2:3b", ("Q8_0",), (2048, 2048))
    found = proposals(first, second, on=node(24, env={"OLLAMA_MAX_LOADED_MODELS": "1"}))
    assert of_lines(found, "OLLAMA_MAX").lines == ("OLLAMA_MAX_LOADED_MODELS=2",)


def test_a_limit_of_models_that_nobody_set_is_raised_where_it_binds() -> None:
    names = ("llama3.2:1b", "llama3.2:3b", "qwen3:4b", "gemma3:4b")
    wanted = tuple(want(name, name, ("Q4_K_M",), (2048, 2048)) for name in names)
    found = proposals(*wanted, on=node(40))
    assert of_lines(found, "OLLAMA_MAX").lines == ("OLLAMA_MAX_LOADED_MODELS=6",)


def test_a_limit_of_models_that_is_not_reached_is_not_raised() -> None:
    first = want("first", "llama3.2:1b", ("Q8_0",), (2048, 2048), priority=1)
    second = replace(first, name="second", priority=2, ctx_floor=8192, ctx_wish=8192)
    found = proposals(first, second, on=node(12))
    assert [each.lines[0] for each in found] == ["OLLAMA_HOST=0.0.0.0:11435"]


def test_nothing_is_proposed_where_nothing_lacks() -> None:
    assert proposals(BIG, on=node(24)) == ()


def test_nothing_is_proposed_that_makes_no_better_plan() -> None:
    here = Lab(nodes=(node(8),), deployments=(BIG,))
    plan = quick(here)
    asked = []

    def no_better(lab: Lab) -> Plan:
        asked.append(lab)
        return plan

    assert proposed(here, plan, replan=no_better) == ()
    assert asked


def test_a_change_is_planned_on_the_plan_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Lab(nodes=(node(8),), deployments=(BIG,))
    plan, begun = quick(here), []

    def noted(lab: Lab, *, like: Plan | None = None) -> Plan:
        begun.append(like)
        return quick(lab, like=like)

    monkeypatch.setattr(proposals_module, "quick", noted)
    assert proposed(here, plan)
    assert begun
    assert all(each is plan for each in begun)


def test_no_further_change_is_planned_when_time_is_up() -> None:
    here = Lab(nodes=(node(8),), deployments=(BIG,))
    plan = quick(here)
    planned = []

    def slow(lab: Lab) -> Plan:
        planned.append(lab)
        return plan

    def clock() -> float:
        return LIMIT_S * 2 * len(planned)

    assert proposed(here, plan, replan=slow, clock=clock) == ()
    assert len(planned) == 1


def test_many_that_gain_are_counted() -> None:
    many = tuple(replace(BIG, name=f"d{number}", priority=2) for number in range(7))
    (found, *_) = proposals(*many, on=node(8))
    assert "also d0, d1, d2, d3 and 3 others fit." in found.text


def test_the_best_comes_first_and_no_more_than_asked_for() -> None:
    here = Lab(nodes=(node(8.4),), deployments=(replace(BIG, ctx_wish=32768),))
    plan = quick(here)
    many = proposed(here, plan)
    assert len(many) > 1
    assert proposed(here, plan, most=1) == many[:1]
