"""What a schedule wants where: its words turned into servers, models and cards of this lab."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labdash.models import (
    Gpu,
    InstalledModel,
    Instance,
    ItemWish,
    Node,
    Plan,
    PlanItem,
    PullSchedule,
    ScheduleWhat,
)
from labdash.queries.radar import is_own

type Pair = tuple[Instance, str]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """``missing`` are to be pulled, ``present`` are there; of both each server's are in order.

    ``notes`` are sentences on what could not be made out.
    """

    missing: tuple[Pair, ...] = ()
    present: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()


def read_targets(schedule: PullSchedule) -> Targets:
    """Return what a schedule wants now."""
    instances = instances_of(schedule.nodes)
    installed = _installed(instances)
    pairs = tuple(_wanted(schedule, instances, installed))
    return Targets(
        missing=tuple(pair for pair in pairs if not _is_in(pair, installed)),
        present=tuple(pair for pair in pairs if _is_in(pair, installed)),
        notes=tuple(_notes(schedule, instances, pairs)),
    )


def instances_of(places: Iterable[str]) -> tuple[Instance, ...]:
    """Return the servers of nodes and tags, all of them where none is named."""
    rows = Instance.objects.select_related("node").order_by("node__slug", "name")
    rows = rows.defer("shelf", "node__last_sample")
    return tuple(row for row in rows if is_meant(row.node, places))


def gpus_of(places: Iterable[str]) -> tuple[Gpu, ...]:
    """Return the cards of nodes and tags, all of them where none is named."""
    rows = Gpu.objects.select_related("node").defer("node__last_sample")
    return tuple(row for row in rows if is_meant(row.node, places))


def is_meant(node: Node, places: Iterable[str]) -> bool:
    """Tell whether a node is among places by its name or by a tag."""
    names = set(places)
    return not names or node.slug in names or bool(names & {str(tag) for tag in node.tags})


def gone_places(places: Iterable[str], nodes: Iterable[Node]) -> tuple[str, ...]:
    """Return those places that are neither a node nor a tag of one."""
    known = {name for node in nodes for name in (node.slug, *map(str, node.tags))}
    return tuple(place for place in places if place not in known)


def _installed(instances: Iterable[Instance]) -> dict[int, dict[str, str]]:
    """Return the names on each server, by how Ollama compares them."""
    found: dict[int, dict[str, str]] = {each.pk: {} for each in instances}
    rows = InstalledModel.objects.in_use().filter(instance__in=found, is_cloud=False)
    for key, name in rows.order_by("name").values_list("instance_id", "name"):
        found[key][name.lower()] = name
    return found


def _is_in(pair: Pair, installed: dict[int, dict[str, str]]) -> bool:
    instance, model = pair
    return model.lower() in installed[instance.pk]


def _wanted(
    schedule: PullSchedule, instances: Iterable[Instance], installed: dict[int, dict[str, str]]
) -> Iterator[Pair]:
    if schedule.what == ScheduleWhat.PLAN:
        yield from _planned({each.pk: each for each in instances})
        return
    for instance in instances:
        if schedule.what == ScheduleWhat.INSTALLED:
            names = [each for each in installed[instance.pk].values() if not is_own(each)]
        else:
            names = schedule.model_names
        yield from ((instance, name) for name in names)


def _planned(instances: dict[int, Instance]) -> Iterator[Pair]:
    """Yield what the plan in force serves, each model of a server once."""
    items = PlanItem.objects.filter(plan__in=Plan.objects.in_force(), wish=ItemWish.SERVE)
    rows = items.order_by("load_order").values_list("instance_id", "model")
    pairs = dict.fromkeys((key, model) for key, model in rows if key in instances)
    yield from ((instances[key], model) for key, model in pairs)


def _notes(
    schedule: PullSchedule, instances: Iterable[Instance], pairs: Iterable[Pair]
) -> Iterator[str]:
    nodes = Node.objects.defer("last_sample") if schedule.nodes else ()
    for place in gone_places(schedule.nodes, nodes):
        yield f"{place} is no machine and no tag of one now."
    if not instances:
        yield "There is no Ollama server to pull to."
    elif not pairs and schedule.what == ScheduleWhat.PLAN:
        yield "No plan is in force that needs anything there."
    elif not pairs:
        yield "Nothing is installed there."
