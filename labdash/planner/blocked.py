"""Why a deployment can be served nowhere, not even in an empty lab."""

from dataclasses import dataclass

from labdash.planner.lab import Deployment, Lab
from labdash.planner.plan import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """``short_bytes`` is what the nearest place lacks, None where memory does not bind."""

    limit: Limit
    short_bytes: int | None
    text: str


def why_none(lab: Lab, deployment: Deployment) -> Blocked:
    """Tell what binds a deployment that has no choice."""
    return Blocked(limit="gpu", short_bytes=None, text=f"{deployment.name} fits nowhere.")
