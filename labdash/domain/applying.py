"""Put a plan in force, go back to the one before, stop one. ``carrying`` takes its steps."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labdash import live
from labdash.domain import loads, pulls, steps
from labdash.domain.cancelling import raise_apply_flag
from labdash.domain.ending import endings
from labdash.domain.errors import LabDashError
from labdash.models import (
    ITEM_OVER,
    Deployment,
    Gpu,
    Instance,
    ItemState,
    ItemWish,
    Plan,
    PlanItem,
    PlanState,
    Residency,
)
from labdash.models.plan import CANCELLED
from labdash.planner import plan as planned
from labdash.planner.lab import Lab
from labdash.planner.memory.overhead import Overhead, overhead_of
from labdash.planner.placing.inventory import plain
from labdash.planner.placing.unseen import left_out_bytes
from labdash.planner.telling import names
from labdash.queries.lab import read_lab
from labdash.queries.memory_now import others_on
from labdash.queries.plan_in_force import in_force, plan_before
from workers import wire

log = logging.getLogger(__name__)

REASON_LENGTH = 1000
# So many plans are remembered, and those to which they return.
KEPT = 100
# Drivers of makers of whom nobody measured one are said to take 50 to 500 MiB; 150 to 350 are
# assumed.
DOUBT_BYTES = 200 * 2**20
# Of what is applied once more, these are as they were; the rest begins anew.
_REPEATED = (
    "deployment_id",
    "deployment_name",
    "replica",
    "model",
    "alias",
    "quant",
    "residency",
    "ctx",
    "parallel",
    "kv_type",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "load_order",
    "layers",
    "bytes",
    "overheads",
    "host_bytes",
    "predicted_bytes",
    "margin_bytes",
    "left_out_bytes",
    "doubt_bytes",
    "shares",
    "tokens_per_s",
    "reasons",
)


class Outdated(LabDashError):  # noqa: N818 - named for the state of what was asked
    """Another plan came into force meanwhile."""


def apply(  # noqa: PLR0913 - a plan, and what is to be remembered of it
    *,
    plan: planned.Plan,
    lab: Lab,
    by: User | None,
    why: str = "",
    content: Mapping[str, Any] | None = None,
    instead_of: Plan | None = None,
    replaces: Plan | None = None,
) -> Plan:
    """Put a plan in force in the place of the one before; its steps begin within seconds.

    ``instead_of`` is the plan that comes back once no GPU is given back any more. Raises
    ``LabDashError`` where the lab is no longer what was planned for, or ``replaces`` is no longer
    in force.
    """
    instances = {str(each): each for each in Instance.objects.select_related("node")}
    for placement in plan.placements:
        if placement.choice.instance not in instances:
            raise LabDashError(f"{placement.choice.instance} is no longer there: plan anew.")
    rows = {row.name: row for row in Deployment.objects.all()}
    items = [_item(each, lab, instances, rows) for each in plan.placements]
    stored = Plan(requested_by=by, why=why[:200], content=dict(content or {}))
    stored.instead_of = instead_of
    return _put_in_force(stored, items, replaces=replaces)


def back(*, by: User | None) -> Plan:
    """Apply the placements of the plan before once more. Raises ``LabDashError``."""
    former = plan_before()
    if former is None:
        raise LabDashError("There is no plan before this one.")
    return repeat(plan=former, by=by, why="back to the plan before")


def repeat(*, plan: Plan, by: User | None, why: str, replaces: Plan | None = None) -> Plan:
    """Apply the placements of an earlier plan once more.

    ``replaces`` has to be in force still, or else it raises ``Outdated``.
    """
    served = plan.items.filter(wish=ItemWish.SERVE)
    items = [_copy(item) for item in served.select_related("instance__node")]
    stored = Plan(requested_by=by, why=why[:200], content=plan.content, returns_to=plan)
    return _put_in_force(stored, items, replaces=replaces)


def cancel(*, plan: Plan) -> None:
    """Stop what is not done yet; what was done stays.

    Raises ``LabDashError`` where something could not be stopped: that stays as it was, so that a
    second try finds it.
    """
    open_items = plan.items.exclude(state__in=ITEM_OVER)
    refused: LabDashError | None = None
    for item in list(open_items.select_related("instance__node", "pull_job", "load_job")):
        try:
            with transaction.atomic():
                open_items.filter(pk=item.pk).update(state=ItemState.FAILED, reason=CANCELLED)
                _stop(item, plan)
        except LabDashError as error:
            refused = error
    if refused is not None:
        raise refused
    Plan.objects.filter(pk=plan.pk, state=PlanState.APPLYING).update(
        state=PlanState.CURRENT, applied_at=timezone.now()
    )
    plan.refresh_from_db()


def resume(*, plan: Plan) -> None:
    """Try once more what failed or was given up, also where somebody changed it by hand."""
    now = timezone.now()
    failed = plan.items.filter(state=ItemState.FAILED)
    begun = failed.update(**{**fresh(), "state": ItemState.WAITING, "cleared": False})
    plan.items.update(mended=0, mended_at=None)
    Plan.objects.filter(pk=plan.pk).update(resumed_at=now)
    if begun:
        # Its steps are shown, and can be cancelled once more.
        Plan.objects.in_force().filter(pk=plan.pk).update(state=PlanState.APPLYING)
    plan.refresh_from_db()


def let_go(*, plan: Plan) -> None:
    """Keep nothing up any more; what is in memory stays as it is."""
    cancel(plan=plan)
    Plan.objects.in_force().filter(pk=plan.pk).update(state=PlanState.REPLACED)
    plan.refresh_from_db()


def prune() -> int:
    """Delete the oldest plans beyond those that are remembered; return how many rows went."""
    newest = list(Plan.objects.order_by("-pk")[:KEPT])
    kept = {pk for plan in newest for pk in (plan.pk, plan.returns_to_id, plan.instead_of_id) if pk}
    return Plan.objects.filter(state=PlanState.REPLACED).exclude(pk__in=kept).delete()[0]


def note_progress(report: wire.ApplyProgress, *, arrived_at: datetime) -> bool:
    """Take in what a node says of making or deleting a name; tell whether it changed anything."""
    item = PlanItem.objects.filter(pk=report.job_id).select_related("instance__node").first()
    if item is None or item.instance.node.slug != report.node:
        return False
    states = {"create": ItemState.CREATING, "delete": ItemState.UNLOADING}
    if item.state != states[report.step] or item.sent_at is None:
        return False
    unchanged = PlanItem.objects.filter(pk=item.pk, state=item.state, sent_at=item.sent_at)
    if report.phase == "working":
        return bool(unchanged.update(sent_at=arrived_at))
    if report.phase == "done":
        return bool(unchanged.update(**_done(item)))
    why = report.meaning or report.reason or "Its server did not say why."
    return bool(unchanged.update(**_after_failure(item, why, now=arrived_at)))


# --- a plan becomes rows -------------------------------------------------------------------------


def _put_in_force(stored: Plan, items: list[PlanItem], *, replaces: Plan | None) -> Plan:
    """Store a plan as the only one in force. Raises ``Outdated`` where another was faster."""
    former, lab = in_force(), read_lab(now=timezone.now())
    if replaces is not None and former != replaces:
        raise Outdated("Another plan was applied meanwhile.")
    ended = endings(items, lab=lab, former=former)
    is_asked_back = stored.returns_to is not None and replaces is None
    stored.without = _given_back([] if is_asked_back else items)
    # What comes later is told as new.
    stored.others = {
        device: dict(sizes) for view in lab.nodes for device, sizes in others_on(view).items()
    }
    with transaction.atomic():
        if former is not None and not _end(former):
            raise Outdated("Another plan was applied in this moment: look again.")
        stored.save()
        for item in (*items, *ended):
            item.plan = stored
        PlanItem.objects.bulk_create([*items, *ended])
    if former is not None:
        _stop_all(former, wanted={(item.instance_id, item.model.lower()) for item in items})
    log.info("plan in force plan=%d items=%d why=%s", stored.pk, len(items), stored.why)
    return stored


def _end(former: Plan) -> bool:
    """Take a plan out of force; false where somebody else did it first."""
    still = Plan.objects.in_force().filter(pk=former.pk)
    return bool(still.update(state=PlanState.REPLACED))


def _item(
    placement: planned.Placement,
    lab: Lab,
    instances: Mapping[str, Instance],
    rows: Mapping[str, Deployment],
) -> PlanItem:
    choice, wanted = placement.choice, placement.deployment
    overheads = _overheads(choice, lab)
    known = overheads.values()
    return PlanItem(
        deployment=rows.get(wanted.name),
        deployment_name=wanted.name,
        replica=placement.replica,
        instance=instances[choice.instance],
        model=_base(placement, lab),
        alias="" if wanted.same_name else names.served(placement),
        quant=choice.variant.quant,
        residency=Residency.RESIDENT if wanted.resident else Residency.ON_DEMAND,
        ctx=choice.ctx,
        parallel=choice.parallel,
        kv_type=choice.kv_type,
        num_batch=choice.num_batch,
        num_gpu=choice.num_gpu,
        main_gpu=choice.main_gpu,
        load_order=placement.load_order,
        layers=dict(choice.layers),
        bytes=dict(choice.bytes),
        overheads={device: each.bytes for device, each in overheads.items()},
        host_bytes=choice.host_bytes,
        predicted_bytes=choice.predicted_bytes,
        margin_bytes=choice.margin_bytes,
        left_out_bytes=left_out_bytes(choice),
        doubt_bytes=DOUBT_BYTES if any(each.basis == "unknown" for each in known) else 0,
        shares=placement.shares or "",
        tokens_per_s=choice.tokens_per_s,
        reasons=list(placement.reasons),
    )


def _base(placement: planned.Placement, lab: Lab) -> str:
    """Name the weights on the instance: as installed there, else as they are pulled."""
    choice = placement.choice
    variant, instance = choice.variant, lab.homes[choice.instance][1]
    if placement.deployment.same_name:
        return variant.name
    known = [name for name in instance.installed if names.is_of(name, variant, instance)]
    own = [name for name in known if name.startswith(names.FOLDER)]
    others = [name for name in known if name not in own]
    named = [name for name in others if plain(name) == plain(variant.name)]
    return next(iter((*named, *others, *own)), variant.name)


def _overheads(choice: planned.Choice, lab: Lab) -> dict[str, Overhead]:
    """Tell what of each GPU's bytes is the process itself, as the memory model reckons."""
    node, shape = lab.homes[choice.instance][0], choice.variant.model.shape
    has_more = shape.experts is not None or shape.recurrent is not None
    return {
        f"{node.name}/{card.index}": overhead_of(
            vendor=card.vendor, sm_count=card.sm_count, moe=has_more, learned=card.learned
        )
        for card in node.cards
        if f"{node.name}/{card.index}" in choice.gpu_devices
    }


def _copy(item: PlanItem) -> PlanItem:
    return PlanItem(**{name: getattr(item, name) for name in _REPEATED}, instance=item.instance)


def _given_back(items: list[PlanItem]) -> list[int]:
    """Return the cards that their owners have; one that ``items`` still use is yet to be freed."""
    used = {(item.instance.node_id, device) for item in items for device in item.bytes}
    rows = Gpu.objects.returned().select_related("node").order_by("pk")
    return [gpu.pk for gpu in rows if (gpu.node_id, f"{gpu.node.slug}/{gpu.index}") not in used]


# --- ends of steps -------------------------------------------------------------------------------


def _done(item: PlanItem) -> dict[str, Any]:
    """Go on after a name was made or deleted: what is not loaded is ready by that."""
    is_loaded = item.residency == Residency.RESIDENT and not item.shares
    is_next = item.wish == ItemWish.SERVE and is_loaded
    state = ItemState.LOADING if is_next else ItemState.READY
    return {**fresh(), "state": state}


def fresh() -> dict[str, Any]:
    """Return the fields of an item at the begin of a step."""
    return {"sent_at": None, "attempts": 0, "next_at": None, "reason": "", "load_job": None}


def _after_failure(item: PlanItem, why: str, *, now: datetime) -> dict[str, Any]:
    """Return the fields of an item after a try that came to nothing: again later, or never."""
    pause_s = steps.rest_s(item.attempts)
    if pause_s is None:
        return {**fresh(), "state": ItemState.FAILED, "reason": why[:REASON_LENGTH]}
    later = {"attempts": item.attempts + 1, "next_at": now + timedelta(seconds=pause_s)}
    return {**fresh(), **later, "reason": steps.again(why)[:REASON_LENGTH]}


def _stop_all(plan: Plan, *, wanted: set[tuple[int, str]]) -> None:
    """Stop what a replaced plan had under way; downloads that are ``wanted`` still go on."""
    open_items = plan.items.exclude(state__in=ITEM_OVER)
    for item in open_items.select_related("instance__node", "pull_job", "load_job"):
        if (item.instance_id, item.model.lower()) in wanted:
            item.pull_job = None
        try:
            _stop(item, plan)
        except LabDashError as error:
            log.warning("not stopped item=%d: %s", item.pk, error)


def _stop(item: PlanItem, plan: Plan) -> None:
    """Give up the jobs of an item: loads at once, downloads where this plan began them."""
    if item.load_job is not None and item.load_job.is_active:
        loads.cancel(job=item.load_job)
    job = item.pull_job
    if job is not None and job.is_active and job.created_at >= plan.created_at:
        pulls.cancel_pull(job=job)
    if item.sent_at is not None:
        try:
            raise_apply_flag(item_id=item.pk, node=item.instance.node)
        except live.StoreDown as error:
            log.warning("order not taken back item=%d: %s", item.pk, error)
