"""Carry the plan in force on: read the facts, ask ``steps`` for each step, take them one by one.

Every step is a conditional update, so this may run twice at once: who changes no row lost.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from labdash import live
from labdash.domain import loads, orders, pulls, steps
from labdash.domain.applying import REASON_LENGTH, fresh
from labdash.domain.cancelling import lower_apply_flag
from labdash.domain.errors import LabDashError
from labdash.models import (
    ITEM_OVER,
    InstalledModel,
    Instance,
    ItemState,
    ItemWish,
    LoadJob,
    LoadState,
    LoadWish,
    Node,
    Plan,
    PlanItem,
    PlanState,
    PullJob,
    PullState,
    Residency,
)
from labdash.planner.placing.inventory import plain
from labdash.queries.lab import NodeView, view_node
from labdash.queries.memory_now import InMemory, devices_of, why_down
from labdash.queries.upkeep import in_memory
from labdash.wording import lasted

log = logging.getLogger(__name__)

# Of one node at one tick; the rest waits for the next.
MAX_STEPS = 60
# Less of a model outside the GPUs is noise of host buffers.
NOTABLE_SHARE = 0.005
_PULLS: Mapping[str, steps.Job] = {
    PullState.INSTALLED: "done",
    PullState.FAILED: "failed",
    PullState.CANCELLED: "cancelled",
}
WENT_WRONG = "A step went wrong and is tried again: see the hub's log."
_LOADS: Mapping[str, steps.Job] = {
    LoadState.LOADED: "done",
    LoadState.UNLOADED: "done",
    LoadState.FAILED: "failed",
    LoadState.CANCELLED: "cancelled",
}


def carry_on(*, now: datetime | None = None) -> int:
    """Take all steps that are due; return how many.

    Does nothing while the store is down or nobody reads reports: silence means nothing then.
    """
    now = now or timezone.now()
    plan = _newest_in_force()
    if plan is None:
        return 0
    taken = 0
    groups = _open_items(plan)
    try:
        views = _views(groups, now=now) if groups else {}
        for node_id, view in views.items():
            taken += _carry_on_apart(groups[node_id], view, now=now)
    except live.StoreDown as error:
        log.warning("a plan waits for the store: %s", error)
        return taken
    _finish(plan, now=now)
    return taken


def _newest_in_force() -> Plan | None:
    """Return the plan in force; where two were applied in one moment, let the newest stand."""
    plans = list(Plan.objects.in_force().defer("content").order_by("-pk"))
    if len(plans) > 1:
        older = Plan.objects.in_force().filter(pk__lt=plans[0].pk)
        older.update(state=PlanState.REPLACED)
    return plans[0] if plans else None


def _open_items(plan: Plan) -> dict[int, list[PlanItem]]:
    """Return all items of the nodes on which something is left to do."""
    groups: defaultdict[int, list[PlanItem]] = defaultdict(list)
    if not plan.items.exclude(state__in=ITEM_OVER).exists():
        return groups
    for item in _items(plan.items.all()):
        groups[item.instance.node_id].append(item)
    return {
        node: items
        for node, items in groups.items()
        if any(item.state not in ITEM_OVER for item in items)
    }


def _items(rows: QuerySet[PlanItem]) -> QuerySet[PlanItem]:
    rows = rows.select_related("instance__node", "pull_job", "load_job", "plan__requested_by")
    # Long, and read with every item before every step.
    return rows.defer("plan__content", "instance__node__last_sample")


def _views(groups: Iterable[int], *, now: datetime) -> dict[int, NodeView]:
    nodes = list(Node.objects.filter(pk__in=list(groups)))
    found = live.read_live(node.slug for node in nodes)
    if not found.intake_alive:
        return {}
    return {node.pk: view_node(node, found.states.get(node.slug), now=now) for node in nodes}


def _carry_on_apart(items: list[PlanItem], view: NodeView, *, now: datetime) -> int:
    """Let what goes wrong with one node hold up no other; it is tried again at the next tick."""
    try:
        return _carry_on(items, view, now=now)
    except live.StoreDown:
        raise
    except Exception:
        log.exception("a step of the plan went wrong node=%s", view.node.slug)
        waiting = PlanItem.objects.filter(pk__in=[item.pk for item in items])
        waiting.exclude(state__in=ITEM_OVER).update(reason=WENT_WRONG)
        return 0


def _carry_on(items: list[PlanItem], view: NodeView, *, now: datetime) -> int:
    taken = 0
    passed: set[int] = set()
    while taken < MAX_STEPS:
        step = steps.next_step(_place(items, view, passed, now=now))
        if step is None:
            break
        row = next(item for item in items if item.pk == step.item.id)
        if _take(step, row, now=now):
            taken += 1
        else:
            passed.add(row.pk)
        items = list(_items(PlanItem.objects.filter(pk__in=[item.pk for item in items])))
    return taken


def _finish(plan: Plan, *, now: datetime) -> None:
    """A plan of which nothing is left to do is in force."""
    if plan.state == PlanState.APPLYING and not plan.items.exclude(state__in=ITEM_OVER).exists():
        done = Plan.objects.filter(pk=plan.pk, state=PlanState.APPLYING)
        if done.update(state=PlanState.CURRENT, applied_at=now):
            log.info("plan applied plan=%d", plan.pk)


# --- facts ---------------------------------------------------------------------------------------


def _place(
    items: list[PlanItem], view: NodeView, passed: Iterable[int], *, now: datetime
) -> steps.Place:
    servers = {item.instance.name: item.instance for item in items}
    down = [(name, why_down(view, name) or _untold(servers[name])) for name in sorted(servers)]
    installed = _installed(items)
    return steps.Place(
        waits=_waits(view),
        down=tuple(each for each in down if each[1]),
        items=tuple(_facts(item, view, installed, now=now) for item in items),
        passed=frozenset(passed),
    )


def _waits(view: NodeView) -> str:
    slug = view.node.slug
    if view.node.paused:
        return f"Waits: {slug} is paused."
    if view.liveness == "never":
        return f"Waits: {slug} has not reported yet."
    if view.liveness == "silent":
        return f"Waits: {slug} has not reported for {lasted(view.age_s or 0)}."
    return ""


def _untold(instance: Instance) -> str:
    """Say that nobody knows yet what a server has, so that nothing is downloaded twice."""
    return "" if instance.inventory_at else f"Waits: {instance} has not told its models yet."


def _installed(items: Iterable[PlanItem]) -> set[tuple[int, str]]:
    rows = InstalledModel.objects.filter(instance__in={item.instance_id for item in items})
    pairs = rows.values_list("instance_id", "name")
    return {(instance, plain(name)) for instance, name in pairs}


def _facts(
    item: PlanItem, view: NodeView, installed: set[tuple[int, str]], *, now: datetime
) -> steps.Item:
    found = in_memory(item, view)
    is_loaded = item.residency == Residency.RESIDENT and not item.shares
    return steps.Item(
        id=item.pk,
        name=item.deployment_name or item.model,
        model=item.model,
        instance=item.instance.name,
        wish=ItemWish(item.wish),
        state=ItemState(item.state),
        reason=item.reason,
        load_order=item.load_order,
        is_loaded=is_loaded,
        is_alias=bool(item.alias),
        devices=devices_of(item.bytes) or frozenset(item.layers),
        is_installed=(item.instance_id, plain(item.model)) in installed,
        is_listed=(item.instance_id, plain(item.alias)) in installed,
        pull=_of_pull(item.pull_job),
        load=_of_load(item.load_job),
        why=_why(item),
        sent_age_s=_age_s(item.sent_at, now),
        attempts=item.attempts,
        wait_s=max(0.0, -(_age_s(item.next_at, now) or 0.0)),
        cleared=item.cleared,
        in_memory=found is not None,
        is_other=found is not None and _is_other(item, found),
        memory=found.devices if found else None,
    )


def _is_other(item: PlanItem, found: InMemory) -> bool:
    """Whether a model in memory has another context than planned, or lies elsewhere."""
    if found.ctx is not None and item.ctx is not None and found.ctx != item.ctx:
        return True
    gpus = devices_of(item.bytes)
    is_split = any(device.endswith("/cpu") and n for device, n in item.layers.items())
    has_spilled = found.cpu_share is not None and found.cpu_share >= NOTABLE_SHARE
    if has_spilled and not is_split:
        return True
    return found.devices is not None and found.devices != gpus


def _of_pull(job: PullJob | None) -> steps.Job:
    return "none" if job is None else _PULLS.get(job.state, "active")


def _of_load(job: LoadJob | None) -> steps.Job:
    return "none" if job is None else _LOADS.get(job.state, "active")


def _why(item: PlanItem) -> str:
    """Say in plain words what the job of the present step said last."""
    if item.state == ItemState.PULLING and item.pull_job:
        return item.pull_job.reason
    job = item.load_job
    return (job.meaning or job.reason) if job else ""


def _age_s(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


# --- steps ---------------------------------------------------------------------------------------


def _take(step: steps.Step, item: PlanItem, *, now: datetime) -> bool:
    """Take a step; tell whether it was taken and a further one may follow at once."""
    match step:
        case steps.Explain(reason=reason):
            return _update(item, reason=reason[:REASON_LENGTH])
        case steps.Move():
            return _move(step, item)
        case steps.Again(reason=reason, pause_s=pause_s):
            return _repeat(item, reason, now + timedelta(seconds=pause_s))
    try:
        return _act(step, item, now=now)
    except LabDashError as error:
        return item.reason != str(error) and _update(item, reason=str(error)[:REASON_LENGTH])


def _act(step: steps.Step, item: PlanItem, *, now: datetime) -> bool:
    match step:
        case steps.Pull():
            return _pull(item)
        case steps.Create():
            return _order(item, ItemState.CREATING, orders.send_create, now=now)
        case steps.Delete():
            return _order(item, ItemState.UNLOADING, orders.send_delete, now=now)
        case steps.Load():
            return _load(item, ItemState.LOADING, LoadWish.LOAD)
        case steps.Unload():
            return _load(item, ItemState.UNLOADING, LoadWish.UNLOAD)
    return False


def _move(step: steps.Move, item: PlanItem) -> bool:
    changes = {**fresh(), "state": step.state, "reason": step.reason[:REASON_LENGTH]}
    if step.state in ITEM_OVER:
        # What the job saw is read once more by who checks it.
        del changes["load_job"]
        log.info("item ended item=%d state=%s", item.pk, step.state)
    if step.cleared:
        changes["cleared"] = True
    return _update(item, **changes)


def _repeat(item: PlanItem, reason: str, at: datetime) -> bool:
    state = ItemState.WAITING if item.wish == ItemWish.UNLOAD else item.state
    again = {"attempts": item.attempts + 1, "next_at": at, "reason": reason[:REASON_LENGTH]}
    return _update(item, **{**fresh(), **again, "state": state})


def _pull(item: PlanItem) -> bool:
    user = item.plan.requested_by
    job = pulls.request_pull(instance=item.instance, model=item.model, user=user)
    return _update(item, state=ItemState.PULLING, pull_job=job, reason="")


def _order(
    item: PlanItem, state: ItemState, send: Callable[[PlanItem], None], *, now: datetime
) -> bool:
    """Take the item for its node and send the order; undone where the store does not take it."""
    lower_apply_flag(item_id=item.pk, node=item.instance.node)
    if not _update(item, state=state, sent_at=now, reason=""):
        return False
    try:
        send(item)
    except orders.NotSent as error:
        log.warning("order not sent item=%d: %s", item.pk, error)
        PlanItem.objects.filter(pk=item.pk, sent_at=now).update(state=item.state, sent_at=None)
        return False
    return True


def _load(item: PlanItem, state: ItemState, wish: LoadWish) -> bool:
    job = loads.for_plan(instance=item.instance, model=item.served_name, wish=wish)
    if _update(item, state=state, load_job=job, reason="", sent_at=None):
        return True
    if job.by_plan and not job.plan_items.exists():
        # Its item was cancelled meanwhile, and nobody else would end it.
        loads.cancel(job=job)
    return False


def _update(item: PlanItem, **changes: Any) -> bool:
    """Change an item if nothing happened to it since it was read."""
    seen = {
        name: getattr(item, name)
        for name in ("state", "sent_at", "attempts", "reason", "pull_job_id", "load_job_id")
    }
    return bool(PlanItem.objects.filter(pk=item.pk, **seen).update(**changes))
