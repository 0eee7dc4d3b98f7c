"""Let a plan make its names anew once the model that they were made from is another version.

They would serve the old weights for ever; and what was loaded by them has to leave first, since a
name that stands for new weights does not reach the old ones in memory any more.
"""

import logging

from labdash.domain import loads
from labdash.domain.applying import fresh
from labdash.models import (
    ITEM_OVER,
    ItemState,
    ItemWish,
    LoadWish,
    Plan,
    PlanItem,
    PlanState,
    Update,
)
from labdash.planner.placing.inventory import plain
from labdash.queries.lab import NodeView
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
    begun = [_begin_anew(item, update, view) for item in items if not _is_new(item, update)]
    return all(begun)


def _is_new(item: PlanItem, update: Update) -> bool:
    """Whether a name was made since the version came that is there now."""
    made = item.instance.installed_models.filter(name__iexact=f"{item.alias}:latest")
    return bool(item.alias) and made.filter(modified_at__gte=update.step_at).exists()


def _items(update: Update) -> list[PlanItem]:
    rows = PlanItem.objects.filter(
        plan__in=Plan.objects.in_force(), wish=ItemWish.SERVE, instance=update.instance
    )
    rows = rows.select_related("instance__node", "plan").defer("plan__content")
    return [item for item in rows if plain(item.model) == plain(update.model)]


def _begin_anew(item: PlanItem, update: Update, view: NodeView) -> bool:
    changes = {**fresh(), "state": ItemState.WAITING, "cleared": False}
    name = item.alias or update.kept_name
    if name and in_memory(item, view) is not None:
        job = loads.for_plan(instance=item.instance, model=name, wish=LoadWish.UNLOAD)
        changes |= {"state": ItemState.UNLOADING, "load_job": job}
    still = PlanItem.objects.filter(pk=item.pk, state=item.state, sent_at=item.sent_at)
    if not still.update(**changes):
        return False
    # Its steps are shown, and can be cancelled once more.
    Plan.objects.in_force().filter(pk=item.plan_id).update(state=PlanState.APPLYING)
    log.info("item begins anew item=%d after update=%d", item.pk, update.pk)
    return True
