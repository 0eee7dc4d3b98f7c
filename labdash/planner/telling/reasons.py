"""Why each placement is where it is, what it gave up, and what there is to know of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from labdash.planner.lab import Lab
from labdash.planner.loading import Conflict, Settled
from labdash.planner.placement import choices
from labdash.planner.placing.inventory import inventory_of
from labdash.planner.plan import Choice, Placement, Plan
from labdash.planner.telling.alone import why_not_alone
from labdash.planner.telling.given_up import given_up
from labdash.planner.telling.notes import notes
from labdash.planner.telling.stage import Stage, lacked_bytes, where
from labdash.planner.telling.words import clause, device_name, rate, sentence, tokens

# Speeds nearer than that are the same.
FASTER = 1.02
# So many other places are tried for one placement.
MOST_TRIES = 6


def with_reasons(lab: Lab, plan: Plan) -> Plan:
    """Add reasons to all placements."""
    stage = Stage(lab, plan)
    return replace(plan, placements=tuple(_with_reasons(stage, each) for each in plan.placements))


def _with_reasons(stage: Stage, placement: Placement) -> Placement:
    """Say why there, what was given up, and what to know."""
    gave = tuple(given_up(stage, placement))
    there, known = _why_there(stage, placement), notes(stage.lab, stage.plan, placement)
    return replace(placement, reasons=(*there, *gave, *known), given_up=gave)


@dataclass(frozen=True, slots=True)
class _Tried:
    """Other places for the same file and context, and what came of each that was tried.

    ``faster`` is the fastest, where it is faster than that which was chosen.
    """

    faster: tuple[tuple[Choice, Settled | Conflict], ...]
    others: tuple[tuple[Choice, Settled | Conflict], ...]
    all_tried: bool

    @property
    def has_room(self) -> list[Choice]:
        """Return places that would do."""
        return [choice for choice, found in self.others if isinstance(found, Settled)]


def _why_there(stage: Stage, placement: Placement) -> Iterator[str]:
    deployment, choice = placement.deployment, placement.choice
    if placement.shares:
        yield (
            f"It shares the runner of {placement.shares}, which has the same file, context and"
            " GPU: it takes no more memory."
        )
        return
    if deployment.pin is not None:
        yield f"It is pinned to {device_name(deployment.pin)}."
        return
    elsewhere = [each for each in choices(stage.lab, deployment) if not _same_place(each, choice)]
    if not elsewhere:
        yield why_not_alone(stage, placement) or _only_place(choice)
        return
    yield from _held_already(stage.lab, placement)
    alike = [each for each in elsewhere if _is_like(each, choice)]
    tried = _try(stage, placement, alike)
    yield from _against_faster(stage, placement, tried)
    if not tried.has_room and tried.all_tried and not _fits(tried.faster):
        yield from _only_one(stage, placement, elsewhere, tried)


def _only_place(choice: Choice) -> str:
    several = len(choice.gpu_devices) > 1
    is_only = "together are the only place" if several else "is the only place"
    return sentence(f"{where(choice)} {is_only} that can serve it as asked for.")


def _fits(tried: tuple[tuple[Choice, Settled | Conflict], ...]) -> bool:
    return any(isinstance(found, Settled) for _, found in tried)


def _only_one(
    stage: Stage, placement: Placement, elsewhere: list[Choice], tried: _Tried
) -> Iterator[str]:
    """Yield that no other place will do, and whether memory is what binds there."""
    choice = placement.choice
    what = f"{choice.variant.quant} at {tokens(choice.ctx)}"
    only = f"Only {where(choice)}{' together' if len(choice.gpu_devices) > 1 else ''}"
    found = [conflict for _, conflict in (*tried.faster, *tried.others)]
    if alone := why_not_alone(stage, placement):
        yield alone
    elif found:
        by_memory = all(isinstance(each, Conflict) and _is_of_memory(each) for each in found)
        has_room = "have room" if len(choice.gpu_devices) > 1 else "has room"
        can = f"{has_room} for {what}" if by_memory else f"can serve {what}"
        yield f"{only} {can} beside what else is planned."
    elif not any((each.variant, each.ctx) == (choice.variant, choice.ctx) for each in elsewhere):
        yield f"{only} can serve {what} as asked for."
    elif not choice.cpu_layers:
        yield f"{only} can hold all of {what} on {_gpus(choice)}."


def _is_of_memory(conflict: Conflict) -> bool:
    return lacked_bytes(conflict) is not None


def _gpus(choice: Choice) -> str:
    return "GPUs" if len(choice.gpu_devices) > 1 else "one GPU"


def _try(stage: Stage, placement: Placement, alike: list[Choice]) -> _Tried:
    choice = placement.choice
    own = choice.tokens_per_s or 0.0
    alike.sort(key=lambda each: -(each.tokens_per_s or 0.0))
    faster = [each for each in alike if (each.tokens_per_s or 0.0) > own * FASTER]
    slower = alike[len(faster) :]

    def outcome(each: Choice) -> tuple[Choice, Settled | Conflict]:
        return each, stage.attempt(placement.deployment, placement.replica, each)

    first = [outcome(each) for each in faster[:1]]
    others: list[tuple[Choice, Settled | Conflict]] = []
    for each in (*faster[1:MOST_TRIES], *slower[:MOST_TRIES]):
        others.append(outcome(each))
        if isinstance(others[-1][1], Settled):
            break
    complete = len(first) + len(others) == len(alike)
    return _Tried(tuple(first), tuple(others), complete)


def _against_faster(stage: Stage, placement: Placement, tried: _Tried) -> Iterator[str]:
    choice = placement.choice
    if choice.tokens_per_s is None:
        return
    pace = f"about {rate(choice.tokens_per_s)}"
    if not tried.faster:
        if tried.has_room:
            slowest = min(each.tokens_per_s or 0.0 for each in tried.has_room)
            slower = slowest * FASTER < choice.tokens_per_s
            fastest = "The fastest place with room for it"
            yield f"{fastest if slower else 'No place with room for it is faster'}: {pace}."
        else:
            yield f"It answers with {pace}."
        return
    better, found = tried.faster[0]
    would = f"{where(better)} would give about {rate(better.tokens_per_s or 0.0)}"
    if isinstance(found, Settled):
        yield f"It answers with {pace}; {would}, but the plan gains more by this place."
    else:
        yield f"It answers with {pace}; {would}, but {_why_not(stage, placement, found)}"


def _why_not(stage: Stage, placement: Placement, found: Conflict) -> str:
    return stage.told_lack(placement, found) or f"cannot be used: {clause(found.text)}"


def _held_already(lab: Lab, placement: Placement) -> Iterator[str]:
    choice = placement.choice
    spots = inventory_of(lab).spots(placement.deployment)
    if any(spot.is_at(choice.instance, choice.gpu_bytes) for spot in spots):
        yield f"It runs on {choice.instance} now."
    elif not choice.download_bytes:
        holders = inventory_of(lab).holders(choice.variant)
        if len(holders) < len(lab.homes):
            yield f"{choice.instance} has the file already."


def _is_like(each: Choice, choice: Choice) -> bool:
    return each.variant is choice.variant and each.ctx == choice.ctx and each.form == choice.form


def _same_place(each: Choice, choice: Choice) -> bool:
    same = set(each.gpu_devices) == set(choice.gpu_devices)
    return each.instance == choice.instance and same
