"""What going back to an earlier plan would change."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from labdash.models import Gpu, InstalledModel, ItemWish, Plan, PlanItem, Residency
from labdash.planner.lab import CPU
from labdash.planner.placing.inventory import plain
from labdash.planner.plan import Move
from labdash.planner.telling.words import all_of, gib, tokens
from labdash.queries.lab import LabView
from labdash.queries.library import plain_name
from labdash.queries.plan_in_force import in_force

# An instance as a plan writes it, and a name there as names are compared.
type Place = tuple[str, str]
type Kind = Literal["pull", "load", "unload"]


@dataclass(frozen=True, kw_only=True)
class Back:
    """The plan before and what its return would change."""

    summary: str
    moves: tuple[Move, ...]


def view_back(before: Plan, lab: LabView) -> Back:
    """Compare an earlier plan with what runs now."""
    wanted = _served(before)
    now = in_force()
    loaded, installed = _loaded(lab), _installed()
    count = len(wanted)
    given = _given_back(wanted)
    verb = "is" if len(given) == 1 else "are"
    whose = f" It uses {all_of(given)}, which {verb} given back now." if given else ""
    return Back(
        summary=f"It was applied on {before.created_at:%d %b, %H:%M} and served {count}.{whose}",
        moves=(
            *_pulls(wanted, installed),
            *_ends(_served(now) if now else (), wanted, loaded),
            *_loads(wanted, loaded),
        ),
    )


def _served(plan: Plan) -> tuple[PlanItem, ...]:
    items = plan.items.filter(wish=ItemWish.SERVE)
    return tuple(items.select_related("instance__node"))


def _given_back(wanted: Iterable[PlanItem]) -> list[str]:
    """Return the cards among those of a plan that their owners have."""
    used = {device for item in wanted for device in item.bytes}
    rows = Gpu.objects.returned().select_related("node")
    return sorted({f"{gpu.node.slug}/{gpu.index}" for gpu in rows} & used)


def _place(item: PlanItem) -> Place:
    return str(item.instance), plain(item.served_name)


def _loaded(lab: LabView) -> dict[Place, int | None]:
    """Return what is in memory, with its context."""
    return {
        (f"{view.node.slug}/{reading.name}", plain(model.name)): model.context_length
        for view in lab.nodes
        if view.sample
        for reading in view.sample.instances
        for model in reading.loaded or ()
    }


def _installed() -> set[Place]:
    rows = InstalledModel.objects.in_use().filter(is_cloud=False)
    names = rows.values_list("instance__node__slug", "instance__name", "name")
    return {(f"{slug}/{instance}", plain(name)) for slug, instance, name in names}


def _pulls(wanted: Iterable[PlanItem], installed: set[Place]) -> Iterator[Move]:
    for item in wanted:
        place = (str(item.instance), plain(item.model))
        if place not in installed:
            text = f"{place[0]} downloads {item.model}, of a size not known here."
            yield _move("pull", item, 0, text)


def _loads(wanted: Iterable[PlanItem], loaded: dict[Place, int | None]) -> Iterator[Move]:
    for item in wanted:
        place = _place(item)
        if item.residency != Residency.RESIDENT or item.shares:
            continue
        if place in loaded and loaded[place] in {item.ctx, None}:
            continue
        gpus = [device for device in item.bytes if not device.endswith(f"/{CPU}")]
        size = sum(item.bytes[device] for device in gpus) + (item.host_bytes or 0)
        where = all_of(sorted(gpus)) or f"the CPU of {item.instance.node}"
        what = f"{item.quant} at {tokens(item.ctx or 0)}, {gib(size)}"
        name = plain_name(item.served_name)
        yield _move("load", item, size, f"{place[0]} loads {name}: {what} on {where}.")


def _ends(
    now: Iterable[PlanItem], wanted: Iterable[PlanItem], loaded: dict[Place, int | None]
) -> Iterator[Move]:
    kept = {_place(item) for item in wanted}
    for item in now:
        place = _place(item)
        if place not in kept and place in loaded:
            size = sum(item.bytes.values())
            name = plain_name(item.served_name)
            yield _move("unload", item, size, f"{name} leaves the memory of {place[0]}.")


def _move(kind: Kind, item: PlanItem, size: int, text: str) -> Move:
    return Move(
        kind=kind,
        deployment=item.deployment_name,
        instance=str(item.instance),
        model=item.served_name,
        bytes=size,
        text=text,
    )
