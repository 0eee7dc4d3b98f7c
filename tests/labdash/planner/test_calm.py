from dataclasses import replace

from labdash.planner import greedy
from labdash.planner.calm import calm
from labdash.planner.lab import Deployment, Lab
from labdash.planner.plan import Plan
from labdash.planner.staying import Stay
from tests.planning.labs import gpu_node, want

CHAT = want("chat", "qwen3:14b", ("Q4_K_M",), (4096, 8192))
OTHER = want("other", "llama3.1:8b", ("Q4_K_M",), (4096, 8192))


def lab(*wanted: Deployment) -> Lab:
    """Make a machine with two alike cards of 24 GiB."""
    return Lab(nodes=(gpu_node("rog", 4, 4),), deployments=wanted)


def stay(pin: str = "rog/1", ctx: int = 8192, quant: str = "Q4_K_M") -> Stay:
    return Stay(node="rog", ctx=ctx, quant=quant, pin=pin)


def devices(plan: Plan | None) -> dict[str, set[str]]:
    assert plan is not None
    return {each.deployment.name: set(each.choice.devices) for each in plan.placements}


def test_what_runs_stays_on_its_card() -> None:
    here = lab(CHAT)
    best = greedy.quick(here)
    for card in ("rog/0", "rog/1"):
        assert devices(calm(here, {"chat": stay(card)}, best)) == {"chat": {card}}


def test_what_is_new_is_planned_around_it() -> None:
    here = lab(CHAT, OTHER)
    plan = calm(here, {"chat": stay()}, greedy.quick(here))
    assert devices(plan)["chat"] == {"rog/1"}
    assert "other" in devices(plan)


def test_it_is_told_by_the_wishes_and_not_by_what_it_was_bound_to() -> None:
    here = lab(CHAT)
    best = replace(greedy.quick(here), gap=0.0)
    plan = calm(here, {"chat": stay()}, best)
    assert plan is not None
    assert [each.deployment for each in plan.placements] == [CHAT]
    assert (plan.score.served, plan.score.value) == (best.score.served, best.score.value)
    assert plan.gap == 0.0


def test_it_gives_way_where_moving_gains_more_than_next_to_nothing() -> None:
    here = lab(CHAT)
    assert calm(here, {"chat": stay(ctx=4096)}, greedy.quick(here)) is None


def test_it_gives_way_where_the_best_serves_more() -> None:
    here = lab(CHAT, replace(OTHER, pin="rog/1", ctx_floor=131072, ctx_wish=131072))
    best = greedy.quick(here)
    assert len(best.placements) == 2
    assert calm(here, {"chat": stay()}, best) is None
