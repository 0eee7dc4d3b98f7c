"""The way out of those that are kept apart: with whom one would have to share a device."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from labdash.planner.lab import Deployment
from labdash.planner.plan import Choice, Placement, WayOut
from labdash.planner.telling.near import Search
from labdash.planner.telling.stage import Stage, where
from labdash.planner.telling.words import all_of

# So many places are looked at.
MOST_PLACES = 8
# Between the names in a way's value; no name holds one.
BETWEEN = ","


class _Beside(NamedTuple):
    """A place that has room, and whom it shares with one that was to be kept apart."""

    names: tuple[str, ...]
    choice: Choice


def side_by_side(search: Search) -> Iterator[WayOut]:
    """Yield the place where the fewest would have to be met."""
    apart = (near.choice for near in search.near if near.conflict.limit == "apart")
    tried = (_beside(search, choice) for choice in islice(apart, MOST_PLACES))
    found = [each for each in tried if each is not None]
    if found:
        names, choice = min(found, key=lambda each: len(each.names))
        others = all_of(names)
        text = f"It fits on {where(choice)} if it need not be kept apart from {others}."
        yield WayOut(kind="apart", value=BETWEEN.join(names), text=text)


def _beside(search: Search, choice: Choice) -> _Beside | None:
    """Try a place as if nobody there had to be kept apart from it."""
    wanted, plan = search.deployment, search.stage.plan
    met = [
        each
        for each in plan.placements
        if each.choice.devices & choice.devices and _is_apart(each.deployment, wanted)
    ]
    names = tuple(sorted({each.deployment.name for each in met}))
    own = replace(wanted, keep_apart=wanted.keep_apart - set(names))
    placements = tuple(_met(each, wanted) if each in met else each for each in plan.placements)
    stage = Stage(search.stage.lab, replace(plan, placements=placements))
    fitted = stage.fitted(own, search.refusal.replica, choice)
    return None if fitted is None else _Beside(names, fitted)


def _is_apart(one: Deployment, other: Deployment) -> bool:
    return other.name in one.keep_apart or one.name in other.keep_apart


def _met(placement: Placement, wanted: Deployment) -> Placement:
    deployment = placement.deployment
    free = replace(deployment, keep_apart=deployment.keep_apart - {wanted.name})
    return replace(placement, deployment=free)
