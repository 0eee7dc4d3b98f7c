"""What small machines refuse, and the ways out that are offered."""

from dataclasses import replace

from labdash.planner.lab import Deployment, Lab, Node, Variant
from labdash.planner.plan import Refusal, WayOut
from labdash.planner.telling.refusals import with_refusals
from tests.planning.choices import packed
from tests.planning.labs import GIB, card, gpu_node, variant, want

BIG = want("big", "llama3.1:8b", ("Q8_0", "Q5_K_M"), (16384, 32768))


def node(name: str, *sizes_gib: float, **changes: object) -> Node:
    cards = tuple(
        card(index, 4, total_bytes=int(size * GIB), used_bytes=GIB // 2, **changes)
        for index, size in enumerate(sizes_gib)
    )
    return replace(gpu_node(name, *([4] * len(sizes_gib))), cards=cards)


def smaller(deployment: Deployment) -> tuple[Variant, ...]:
    known = {each.quant for each in deployment.variants}
    lower = [quant for quant in ("Q4_K_M", "Q3_K_M") if quant not in known]
    return tuple(variant(deployment.model, quant) for quant in lower)


def refusal(*nodes: Node, wanted: Deployment = BIG, beside: tuple[Deployment, ...] = ()) -> Refusal:
    here = Lab(nodes=nodes, deployments=(*beside, wanted))
    plan = packed(here)
    found = with_refusals(here, plan, smaller=smaller).refusals
    (only,) = [each for each in found if each.deployment is wanted]
    return only


def way(found: Refusal, kind: str) -> WayOut:
    return next(each for each in found.nearest if each.kind == kind)


def kinds(found: Refusal) -> list[str]:
    return [each.kind for each in found.nearest]


SMALL = want("small", "llama3.2:3b", ("Q8_0",), (8192, 8192), priority=1)


def copies(count: int) -> Deployment:
    return replace(SMALL, replicas=count)
