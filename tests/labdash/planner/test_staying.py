"""What stays is left no choice; all else is free."""

from dataclasses import replace
from typing import Any

from labdash.planner.lab import Deployment, Lab
from labdash.planner.staying import Stay, narrowed
from labdash.queries.variants import variants_of

VARIANTS = variants_of("qwen3:8b", "Q4_K_M", "Q8_0")


def make(name: str, **fields: Any) -> Deployment:
    return Deployment(
        name=name,
        model="qwen3:8b",
        variants=VARIANTS,
        ctx_floor=4096,
        ctx_wish=32768,
        **fields,
    )


def only(deployment: Deployment, stay: Stay) -> Deployment:
    lab = narrowed(Lab(nodes=(), deployments=(deployment,)), {deployment.name: stay})
    return lab.deployments[0]


def test_what_stays_is_bound_to_its_place_quant_and_context() -> None:
    stay = Stay(node="rog", ctx=8192, quant="Q4_K_M", pin="rog/1")
    bound = only(make("a"), stay)
    assert [variant.quant for variant in bound.variants] == ["Q4_K_M"]
    assert (bound.ctx_floor, bound.ctx_wish, bound.nodes, bound.pin) == (
        8192,
        8192,
        frozenset({"rog"}),
        "rog/1",
    )
    assert only(make("a", pin="rog/0"), replace(stay, pin=None)).pin == "rog/0"


def test_what_is_wanted_otherwise_now_or_in_copies_stays_free() -> None:
    gone = make("a")
    assert only(gone, Stay(node="rog", ctx=8192, quant="Q2_K")) is gone
    copies = make("b", replicas=2)
    assert only(copies, Stay(node="rog", ctx=8192, quant="Q4_K_M")) is copies
    lab = Lab(nodes=(), deployments=(gone,))
    assert narrowed(lab, {}).deployments == (gone,)
