"""GPUs that their owners want back, by a button or for a game: the plan shrinks, and returns."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User

from labdash.domain import applying
from labdash.domain.errors import LabDashError
from labdash.models import Gpu, Plan, PlanItem
from labdash.planner.explain import explained
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan as Answer
from labdash.planner.staying import narrowed
from labdash.queries.lab import LabView, NodeView
from labdash.queries.memory_now import taken_by_others
from labdash.queries.plan_in_force import stay_of
from labdash.queries.plan_json import plan_json
from labdash.queries.snapshot import snapshot
from labdash.queries.variants import smaller
from labdash.wording import size

log = logging.getLogger(__name__)

# Two samples, which come every 5 s, and a little less for their jitter.
BEGINS_AFTER = timedelta(seconds=4.5)
# A game that loads its next level frees memory for some seconds.
ENDS_AFTER = timedelta(seconds=60)

type Planner = Callable[[Lab], Answer]


def give_back(*, gpu: Gpu, by: User | None = None) -> None:
    """Free a GPU for its owner: within seconds the plan does without it."""
    Gpu.objects.filter(pk=gpu.pk).update(given_back=True)
    log.info("gpu given back gpu=%d user=%s", gpu.pk, by)
    gpu.refresh_from_db()


def take_back(*, gpu: Gpu, by: User | None = None) -> None:
    """Let the plan use a GPU again. Raises ``LabDashError`` while other programs hold it."""
    if gpu.game_on and not gpu.given_back:
        raise LabDashError(
            f"Other programs hold more than {size(gpu.game_bytes or 0)} of it: it comes back by"
            " itself a minute after they end. To use it all the same, leave that amount empty."
        )
    Gpu.objects.filter(pk=gpu.pk).update(given_back=False)
    log.info("gpu taken back gpu=%d user=%s", gpu.pk, by)
    gpu.refresh_from_db()


def watch(views: Iterable[NodeView], *, now: datetime) -> int:
    """See which GPUs other programs want for themselves; return how many changed hands."""
    changed = 0
    for view in views:
        if view.liveness not in {"live", "late"}:
            continue
        taken = taken_by_others(view)
        at = now - timedelta(seconds=view.age_s or 0.0)
        for gpu in view.node.gpus.all():
            if gpu.game_bytes is not None or gpu.game_on or gpu.game_since is not None:
                changed += _watch(gpu, taken.get(gpu.index), at=at)
    return changed


def adapt(lab: LabView, *, planner: Planner) -> Plan | None:
    """Let the plan do without what was given back, or as before; return the new plan, if any.

    What is applied is a plan for the whole lab, in which all that the card does not concern stays
    where that costs nobody his place.
    """
    upkeep, rows = lab.upkeep, _given_back()
    if upkeep is None:
        return None
    plan = upkeep.plan
    out, was = {gpu.pk for gpu in rows}, set(plan.without)
    if out == was:
        return None
    devices = {_device(gpu) for gpu in rows if gpu.pk not in was}
    hit = [item for item in upkeep.served if devices & item.bytes.keys()]
    if hit:
        why = f"{_names(devices)} was given back to its owner"
        return _shrink(plan, upkeep.served, lab, planner, why)
    if was - out and plan.instead_of is not None:
        return _grow(plan, plan.instead_of, was - out, lab, planner)
    Plan.objects.filter(pk=plan.pk).update(without=sorted(out))
    return None


def _watch(gpu: Gpu, taken: int | None, *, at: datetime) -> bool:
    """Bring one GPU's state up to date with one sample; tell whether it changed hands."""
    if gpu.game_bytes is None:
        was_on = gpu.game_on
        return _set(gpu, game_on=False, game_since=None) and was_on
    if taken is None:
        return False
    is_over = taken >= gpu.game_bytes
    if is_over == gpu.game_on or gpu.game_since is None:
        since = None if is_over == gpu.game_on else at
        if since != gpu.game_since:
            _set(gpu, game_since=since)
        return False
    if at - gpu.game_since < (BEGINS_AFTER if is_over else ENDS_AFTER):
        return False
    log.info("gpu game=%s gpu=%d taken=%d", is_over, gpu.pk, taken)
    return _set(gpu, game_on=is_over, game_since=None)


def _set(gpu: Gpu, **changes: Any) -> bool:
    same = Gpu.objects.filter(pk=gpu.pk, game_on=gpu.game_on, game_since=gpu.game_since)
    changed = bool(same.update(**changes))
    for name, value in changes.items():
        setattr(gpu, name, value)
    return changed


def _given_back() -> list[Gpu]:
    return list(Gpu.objects.returned().select_related("node"))


def _device(gpu: Gpu) -> str:
    return f"{gpu.node.slug}/{gpu.index}"


def _names(devices: Iterable[str]) -> str:
    return " and ".join(sorted(devices))


def _shrink(
    plan: Plan, served: Iterable[PlanItem], lab: LabView, planner: Planner, why: str
) -> Plan | None:
    """Plan anew without what was given back, and remember what comes back."""
    given, answer = _answer(snapshot(lab), served, planner)
    lost = sorted({item.deployment_name for item in served} - _named(answer))
    result = f"not served meanwhile: {', '.join(lost)}" if lost else "all are served elsewhere"
    return _apply(answer, given, f"{why}; {result}.", plan, plan.instead_of or plan)


def _grow(plan: Plan, before: Plan, back: set[int], lab: LabView, planner: Planner) -> Plan | None:
    """Apply the plan as it was before, or more of it while other GPUs are still away."""
    rows = Gpu.objects.filter(pk__in=back).select_related("node")
    why = f"{_names(map(_device, rows)) or 'a GPU'} is free again"
    if not _given_back():
        try:
            return applying.repeat(plan=before, by=None, why=why, replaces=plan)
        except applying.Outdated:
            return None
    given = snapshot(lab)
    return _apply(planner(given), given, f"{why}.", plan, before)


def _answer(lab: Lab, served: Iterable[PlanItem], planner: Planner) -> tuple[Lab, Answer]:
    """Move only what has to move, unless that would serve less; return what was asked, too."""
    away = {
        f"{node.name}/{card.index}"
        for node in lab.nodes
        for card in node.cards
        if not card.room_bytes
    }
    stays = {item.deployment_name: stay_of(item) for item in served if not away & item.bytes.keys()}
    narrow = narrowed(lab, stays)
    calm, free = planner(narrow), planner(lab)
    return (narrow, calm) if calm.score.served >= free.score.served else (lab, free)


def _named(answer: Answer) -> set[str]:
    return {placement.deployment.name for placement in answer.placements}


def _apply(answer: Answer, given: Lab, why: str, replaces: Plan, instead_of: Plan) -> Plan | None:
    told = explained(given, answer, smaller=smaller)
    try:
        return applying.apply(
            plan=told,
            lab=given,
            by=None,
            why=why,
            content=plan_json(told),
            instead_of=instead_of,
            replaces=replaces,
        )
    except LabDashError as error:
        log.warning("plan not changed for a gpu: %s", error)
        return None
