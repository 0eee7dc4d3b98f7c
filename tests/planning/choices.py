"""Placements and plans written by hand, for what reads them."""

from collections.abc import Mapping
from dataclasses import replace

from labdash.planner.lab import Deployment, Variant
from labdash.planner.plan import Choice, Placement, Plan, Refusal, Score
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
