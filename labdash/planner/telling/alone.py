"""Why a model lies on several GPUs of a server where one of them could hold it."""

from collections.abc import Iterator
from itertools import islice, permutations

from labdash.planner.loading import Conflict, Pick, Settled, settle
from labdash.planner.placing.forms import whole
from labdash.planner.plan import Choice, Placement
from labdash.planner.telling.stage import (
    Place,
    Stage,
    distance,
    load_at,
    where,
)
from labdash.planner.telling.words import clause, one_of

# So many ways are tried to give each divided model a GPU of its own.
MOST_ORDERS = 6


def why_not_alone(stage: Stage, placement: Placement) -> str | None:
    """Say what keeps it from one GPU of its server, None where none is large enough."""
    choice = placement.choice
    alone = list(_alone(stage, choice)) if len(choice.gpu_devices) > 1 else []
    if not alone:
        return None
    could = f"{one_of([where(each) for each in alone])} alone could hold it"
    tried = [(each, stage.attempt(placement.deployment, placement.replica, each)) for each in alone]
    if any(isinstance(found, Settled) for _, found in tried):
        return f"{could} too, but the plan as a whole is better so."
    found = _one_each(stage, placement)
    if found is not None:
        return f"{could}, but not with each model on a GPU of its own: {clause(found.text)}"
    conflicts = [found for _, found in tried if isinstance(found, Conflict)]
    return f"{could}, but {_why_not(stage, placement, min(conflicts, key=distance))}"


def _alone(stage: Stage, choice: Choice) -> Iterator[Choice]:
    for place in _single(stage, choice.instance):
        found = load_at(place, choice.variant, choice.ctx, whole)
        if isinstance(found, Choice):
            yield found


def _single(stage: Stage, instance: str) -> list[Place]:
    places = stage.places_at(instance)
    return [each for each in places if each.member.gpus and not each.seat.joined]


def _one_each(stage: Stage, placement: Placement) -> Conflict | None:
    """Find how Ollama would evict where all divided models of a server had a GPU each."""
    choice = placement.choice
    here = [each for each in stage.plan.placements if each.choice.node == choice.node]
    divided = [
        each
        for each in here
        if each.choice.instance == choice.instance and len(each.choice.gpu_devices) > 1
    ]
    rest = [_pick(each, each.choice) for each in here if each not in divided]
    if len(divided) < 2:  # noqa: PLR2004 - one alone has been tried
        return None
    for places in islice(permutations(_single(stage, choice.instance), len(divided)), MOST_ORDERS):
        loads = [
            load_at(place, each.choice.variant, each.choice.ctx, whole)
            for place, each in zip(places, divided, strict=True)
        ]
        picks = [
            _pick(each, load)
            for each, load in zip(divided, loads, strict=True)
            if isinstance(load, Choice)
        ]
        if len(picks) < len(divided):
            continue
        found = settle(stage.node(choice.node), [*rest, *picks])
        if isinstance(found, Conflict) and found.limit == "eviction":
            return found
    return None


def _pick(placement: Placement, choice: Choice) -> Pick:
    return Pick(deployment=placement.deployment, replica=placement.replica, choice=choice)


def _why_not(stage: Stage, placement: Placement, found: Conflict) -> str:
    lack = stage.told_lack(placement, found)
    return lack or f"it cannot be there: {clause(found.text)}"
