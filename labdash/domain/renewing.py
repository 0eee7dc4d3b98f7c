"""Let a plan make its names anew once the model that they were made from is another version.

They would serve the old weights for ever; and what was loaded by them has to leave first, since a
name that stands for new weights does not reach the old ones in memory any more.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

from django.db.models import QuerySet

from labdash import live
from labdash.domain import loads
from labdash.domain.applying import fresh
from labdash.domain.errors import LabDashError
from labdash.models import (
    ITEM_OVER,
    InstalledModel,
    ItemState,
    ItemWish,
    LoadWish,
    Plan,
    PlanItem,
    PlanState,
    Update,
)
from labdash.planner.placing.inventory import plain
from labdash.queries.lab import NodeView, view_node
from labdash.queries.upkeep import in_memory

log = logging.getLogger(__name__)

# In these it comes to making its name by itself; what was given up is left so.
_LEFT_ALONE = (ItemState.WAITING, ItemState.PULLING, ItemState.FAILED)


def renew(update: Update, view: NodeView) -> bool:
    """Set the items of the plan in force that use a model to be made anew; tell whether all are.

    Raises ``LabDashError`` where something in memory cannot be unloaded now.
    """
    items = [item for item in _items(update) if item.state not in _LEFT_ALONE]
    if any(item.state not in ITEM_OVER for item in items):
        return False
    old = [item for item in items if not _is_new(item)]
    begun = [_begin_anew(item, view, name=item.alias or update.kept_name) for item in old]
    return all(begun)


def renew_stale(*, now: datetime) -> int:
    """Do so where somebody pulled another version past LabDash; return how many began anew.

    Only where its server has told its models since the plan was last carried out.
    """
    items = [item for item in _served() if item.alias and item.state == ItemState.READY]
    stale = [item for item in items if _is_told(item) and _has_other_weights(item)]
    if not stale:
        return 0
    try:
        states = live.read_live({item.instance.node.slug for item in stale}).states
    except live.StoreDown:
        return 0
    return sum(_begin_stale(item, states, now=now) for item in stale)


def _begin_stale(item: PlanItem, states: Mapping[str, live.NodeState], *, now: datetime) -> bool:
    node = item.instance.node
    try:
        view = view_node(node, states.get(node.slug), now=now)
        return _begin_anew(item, view, name=item.alias)
    except LabDashError as error:
        log.info("item stays as it is item=%d: %s", item.pk, error)
        return False


def _is_told(item: PlanItem) -> bool:
    plan, told_at = item.plan, item.instance.inventory_at
    is_done = plan.state == PlanState.CURRENT and plan.applied_at is not None
    return is_done and told_at is not None and told_at > (plan.applied_at or told_at)


def _has_other_weights(item: PlanItem) -> bool:
    """Whether a name of LabDash's and what it was made from stand for different files."""
    alias, base = _rows(item)
    if alias is None or base is None or alias.variant_id is None or base.variant_id is None:
        return False
    return alias.variant_id != base.variant_id and alias.modified_at < base.modified_at


def _is_new(item: PlanItem) -> bool:
    """Whether a name was made since its model became what it is, by the clock of its machine."""
    alias, base = _rows(item)
    return alias is not None and base is not None and alias.modified_at >= base.modified_at


def _rows(item: PlanItem) -> tuple[InstalledModel | None, InstalledModel | None]:
    found = {plain(row.name): row for row in item.instance.installed_models.all()}
    return found.get(plain(item.alias)) if item.alias else None, found.get(plain(item.model))


def _served() -> QuerySet[PlanItem]:
    rows = PlanItem.objects.filter(plan__in=Plan.objects.in_force(), wish=ItemWish.SERVE)
    rows = rows.select_related("instance__node", "plan")
    rows = rows.prefetch_related("instance__installed_models")
    return rows.defer("plan__content", "instance__shelf", "instance__node__last_sample")


def _items(update: Update) -> list[PlanItem]:
    rows = _served().filter(instance=update.instance)
    return [item for item in rows if plain(item.model) == plain(update.model)]


def _begin_anew(item: PlanItem, view: NodeView, *, name: str) -> bool:
    """Unload by a name that still stands for what is in memory, then begin from the start."""
    changes = {**fresh(), "state": ItemState.WAITING, "cleared": False}
    if name and in_memory(item, view) is not None:
        job = loads.for_plan(instance=item.instance, model=name, wish=LoadWish.UNLOAD)
        changes |= {"state": ItemState.UNLOADING, "load_job": job}
    still = PlanItem.objects.filter(pk=item.pk, state=item.state, sent_at=item.sent_at)
    if not still.update(**changes):
        return False
    # Its steps are shown, and can be cancelled once more.
    Plan.objects.in_force().filter(pk=item.plan_id).update(state=PlanState.APPLYING)
    log.info("item begins anew item=%d model=%s", item.pk, item.model)
    return True
