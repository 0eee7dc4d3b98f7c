"""Placements and plans written by hand, for what reads them."""

from collections.abc import Mapping
from dataclasses import replace

from labdash.planner.lab import Deployment, Lab, Node, Variant
from labdash.planner.loading import Pick, Settled, settle
from labdash.planner.placement import choices
from labdash.planner.plan import Choice, DeviceLoad, Placement, Plan, Refusal, Score
from tests.planning.labs import GIB


def choice(
    variant: Variant, device: str = "rog/0", *, ctx: int = 8192, **changes: object
) -> Choice:
    """Put a whole model on one GPU of the node's first instance."""
    node = device.partition("/")[0]
    made = Choice(
        variant=variant,
        node=node,
        instance=f"{node}:11434",
        form="gpu",
        ctx=ctx,
        parallel=1,
        kv_type="f16",
        flash_attn=True,
        num_batch=512,
        num_gpu=None,
        main_gpu=None,
        layers={device: 41},
        bytes={device: 10 * GIB},
        host_bytes=GIB // 2,
        predicted_bytes=11 * GIB,
        margin_bytes=GIB,
        tokens_per_s=40.0,
        download_bytes=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def placed(
    deployment: Deployment, chosen: Choice, *, order: int = 1, replica: int = 0
) -> Placement:
    """Place a deployment."""
    return Placement(deployment=deployment, replica=replica, choice=chosen, load_order=order)


def plan_of(*placements: Placement, refusals: tuple[Refusal, ...] = ()) -> Plan:
    """Make a plan of placements alone."""
    score = Score(served=(len(placements),), cpu_layers=0, value=0.0, moved_bytes=0)
    return Plan(
        status="feasible",
        score=score,
        gap=None,
        placements=placements,
        refusals=refusals,
        devices=(),
    )


def refused(deployment: Deployment, text: str = "no room.", replica: int = 0) -> Refusal:
    """Refuse a deployment for its memory."""
    return Refusal(deployment=deployment, replica=replica, limit="gpu", text=text)


def gpu_bytes(*sizes_gib: float) -> Mapping[int, int]:
    """Tell what a running model holds of the first cards."""
    return {index: int(size * GIB) for index, size in enumerate(sizes_gib)}


def packed(lab: Lab) -> Plan:
    """Serve deployments one after the other, each in its best way that has room."""
    picks: dict[str, list[Pick]] = {node.name: [] for node in lab.nodes}
    refusals = []
    for deployment in sorted(lab.deployments, key=lambda each: each.priority):
        for replica in range(deployment.replicas):
            for best in choices(lab, deployment):
                pick = Pick(deployment=deployment, replica=replica, choice=best)
                here = next(node for node in lab.nodes if node.name == best.node)
                if isinstance(settle(here, [*picks[best.node], pick]), Settled):
                    picks[best.node].append(pick)
                    break
            else:
                refusals.append(refused(deployment, replica=replica))
    return settled_plan(lab, picks, tuple(refusals))


def settled_plan(
    lab: Lab, picks: Mapping[str, list[Pick]], refusals: tuple[Refusal, ...] = ()
) -> Plan:
    """Make the plan of what was picked for each node."""
    placements, devices = [], []
    for node in lab.nodes:
        found = settle(node, picks[node.name])
        assert isinstance(found, Settled)
        for load in found.loads:
            made = placed(load.pick.deployment, load.choice, order=load.load_order)
            placements.append(replace(made, replica=load.pick.replica, shares=load.shares))
        devices += [_load_of(node, card.index, found) for card in node.cards]
    return replace(plan_of(*placements, refusals=refusals), devices=tuple(devices))


def _load_of(node: Node, index: int, found: Settled) -> DeviceLoad:
    device = f"{node.name}/{index}"
    card = next(each for each in node.cards if each.index == index)
    return DeviceLoad(
        node=node.name,
        device=device,
        total_bytes=card.total_bytes,
        reserved_bytes=card.used_bytes + card.reserve_bytes,
        planned_bytes=found.devices.get(device, 0),
    )
