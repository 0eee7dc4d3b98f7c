"""What a plan ends: models that were loaded to stay, and names of LabDash's own, without use.

On nodes that sleep or are paused nothing is ended: a plan would wait for them.
"""

from collections.abc import Iterable, Iterator

from labdash.models import InstalledModel, Instance, ItemWish, Plan, PlanItem
from labdash.planner.placing.inventory import plain
from labdash.planner.telling.names import FOLDER
from labdash.queries.lab import LabView, NodeView
from labdash.queries.library import plain_name
from labdash.queries.memory_now import InMemory, models_on

type Key = tuple[int, str]


def endings(items: Iterable[PlanItem], *, lab: LabView, former: Plan | None) -> list[PlanItem]:
    """Return an item for each model that has to leave memory, and each name that goes."""
    kept = list(items)
    served = {_key(item.instance_id, item.served_name) for item in kept}
    bases = {_key(item.instance_id, item.model) for item in kept}
    placed = _placed(kept)
    found: dict[Key, PlanItem] = {}
    for instance, model in _loaded(lab):
        key = _key(instance.pk, model.name)
        if key not in served and (model.stays or _weights(key, bases, placed)):
            found[key] = _ending(instance, model.name)
    reached = {view.node.pk for view in lab.nodes if _is_reachable(view)}
    for instance, name in (*_own_names(), *_own_names_of(former)):
        if instance.node_id not in reached:
            continue
        key = _key(instance.pk, name)
        # Weights of which no other name is left would be deleted with this one.
        if key not in served and key not in bases:
            found.setdefault(key, _ending(instance, name))
    return list(found.values())


def _key(instance_id: int, name: str) -> Key:
    return (instance_id, plain(name))


def _loaded(lab: LabView) -> Iterator[tuple[Instance, InMemory]]:
    for view in lab.nodes:
        if _is_reachable(view):
            for instance in view.node.instances.all():
                for model in models_on(view, instance.name) or ():
                    yield instance, model


def _is_reachable(view: NodeView) -> bool:
    return view.liveness in {"live", "late"} and not view.node.paused


def _placed(items: Iterable[PlanItem]) -> set[Key]:
    """Return the names that stand for the weights of what is planned on their instance."""
    rows = InstalledModel.objects.filter(
        instance__in={item.instance_id for item in items}, variant__isnull=False
    )
    known = [(row.instance_id, plain(row.name), row.variant_id) for row in rows]
    weights = {(pk, name): variant for pk, name, variant in known}
    wanted = {(item.instance_id, weights.get(_key(item.instance_id, item.model))) for item in items}
    return {(pk, name) for pk, name, variant in known if (pk, variant) in wanted}


def _weights(key: Key, bases: set[Key], placed: set[Key]) -> bool:
    """Whether a model in memory is of weights that the plan wants under another name."""
    return key in bases or key in placed


def _own_names() -> Iterator[tuple[Instance, str]]:
    rows = InstalledModel.objects.filter(name__startswith=FOLDER).select_related("instance__node")
    for row in rows:
        yield row.instance, plain_name(row.name)


def _own_names_of(former: Plan | None) -> Iterator[tuple[Instance, str]]:
    """Yield the names that a plan made, for an inventory that does not tell of them yet."""
    if former is None:
        return
    for item in former.items.filter(wish=ItemWish.SERVE).select_related("instance__node"):
        if item.alias:
            yield item.instance, item.alias


def _ending(instance: Instance, name: str) -> PlanItem:
    shown = plain_name(name)
    return PlanItem(
        instance=instance,
        wish=ItemWish.UNLOAD,
        model=shown if shown.startswith(FOLDER) else name,
        alias=shown if shown.startswith(FOLDER) else "",
        load_order=0,
    )
