"""Narrow a lab so that most of a plan stays where it is: for changes that concern few."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from labdash.planner.lab import Deployment, Lab


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Where and how a deployment is served now. ``pin`` is its only device, None for several."""

    node: str
    ctx: int
    quant: str
    pin: str | None = None


def narrowed(lab: Lab, stays: Mapping[str, Stay]) -> Lab:
    """Leave the deployments that stay no choice, by name, and the others all of theirs."""
    kept = (
        _narrow(each, stays[each.name]) if each.name in stays else each for each in lab.deployments
    )
    return replace(lab, deployments=tuple(kept))


def _narrow(deployment: Deployment, stay: Stay) -> Deployment:
    """Bind a deployment to what serves it, unless that is no longer among its variants."""
    variants = tuple(each for each in deployment.variants if each.quant == stay.quant)
    if not variants or deployment.replicas > 1:
        return deployment
    return replace(
        deployment,
        variants=variants,
        ctx_floor=stay.ctx,
        ctx_wish=stay.ctx,
        nodes=frozenset({stay.node}),
        pin=stay.pin or deployment.pin,
    )
