"""Ways out that a server's owner has: another type of the cache, or a second server."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from labdash.planner.lab import Deployment, Instance, Variant
from labdash.planner.placing.engine import rules_of
from labdash.planner.placing.ways import pin_of
from labdash.planner.plan import Choice, Placement, WayOut
from labdash.planner.telling.near import Search
from labdash.planner.telling.second import second_instance
from labdash.planner.telling.stage import Place, Stage, lacked_bytes, loads_at, where
from labdash.planner.telling.words import ordinal
from labdash.planner.what_if import with_env, with_instance

CACHE_TYPE = "OLLAMA_KV_CACHE_TYPE"
FLASH_ATTENTION = "OLLAMA_FLASH_ATTENTION"
# Types that take less than f16, the better one first, and the share that they save at most.
SMALLER_TYPES = {"q8_0": 0.5, "q4_0": 0.75}
# So many servers are looked at.
MOST_SERVERS = 6


def other_cache_type(search: Search) -> Iterator[WayOut]:
    """Yield the first server and cache type with which it fits beside all else there."""
    for kind in SMALLER_TYPES:
        if not takes_type(search.deployment, kind):
            continue
        for instance in _servers(search):
            if rules_of(instance).kv_type != "f16" or not _could_do(search, instance, kind):
                continue
            choice = _with_type(search, instance, kind)
            if choice is not None:
                lines = f"{CACHE_TYPE}={kind} and {FLASH_ATTENTION}=1"
                text = f"With {lines} on {instance.name} it fits on {where(choice)}."
                yield WayOut(kind="kv_type", value=instance.name, text=text, at_server=True)
                return


def takes_type(deployment: Deployment, kind: str) -> bool:
    """Whether a type of the cache will do."""
    return deployment.kv_types is None or kind in deployment.kv_types


def _servers(search: Search) -> list[Instance]:
    """List servers, that of the nearest place first."""
    places = search.places(most=1000)
    return list({place.instance.name: place.instance for place in places}.values())[:MOST_SERVERS]


def _could_do(search: Search, instance: Instance, kind: str) -> bool:
    """Whether what a type saves could make up for what the server lacks."""
    found = [n.conflict for n in search.near if n.choice.instance == instance.name]
    short = [short for each in found if (short := lacked_bytes(each)) is not None]
    if found and not short:
        return False
    own = [near.choice for near in search.near if near.choice.instance == instance.name]
    present = [each.choice for each in search.stage.plan.placements]
    there = [each for each in present if each.instance == instance.name]
    cache = sum(map(beside_weights, there)) + max(map(beside_weights, own), default=0)
    return not short or min(short) <= SMALLER_TYPES[kind] * cache


def beside_weights(choice: Choice) -> int:
    """Count what a load has beside its weights, the cache among it."""
    held = choice.on_gpus_bytes or choice.host_bytes
    share = 1 - choice.cpu_layers / max(1, sum(choice.layers.values()))
    weights = choice.variant.model.weight_bytes * (share if choice.gpu_devices else 1)
    return max(0, int(held - weights))


def _with_type(search: Search, instance: Instance, kind: str) -> Choice | None:
    plan = search.stage.plan
    changes = {CACHE_TYPE: kind, FLASH_ATTENTION: "1"}
    lab = with_env(search.stage.lab, instance.name, changes)
    changed = Stage(lab, plan)
    moved = []
    for placement in plan.placements:
        kept = _as_there(changed, placement, instance, kind)
        if kept is None:
            return None
        moved.append(kept)
    changed = Stage(lab, replace(plan, placements=tuple(moved)))
    return fitting(changed, search.deployment, search.refusal.replica, instance.name)


def _as_there(
    changed: Stage, placement: Placement, instance: Instance, kind: str
) -> Placement | None:
    """Tell what a placement becomes, None where it cannot be any longer."""
    choice = placement.choice
    if choice.instance != instance.name:
        return placement
    if not takes_type(placement.deployment, kind):
        return None
    there = changed.other(choice, variant=choice.variant, ctx=choice.ctx)
    return replace(placement, choice=there) if isinstance(there, Choice) else None


def fitting(stage: Stage, deployment: Deployment, replica: int, instance: str) -> Choice | None:
    """Find what fits of the floor on one server."""
    variant, ctx = deployment.variants[-1], deployment.ctx_floor
    for place in stage.places_at(instance):
        if not _is_pinned_away(deployment, place) and not _is_costly(variant, place):
            for choice in loads_at(place, deployment, variant, ctx):
                fitted = stage.fitted(deployment, replica, choice)
                if fitted is not None:
                    return fitted
    return None


def _is_costly(variant: Variant, place: Place) -> bool:
    """Whether a load takes a tenth of a second to think of: experts over several GPUs."""
    return place.seat.joined and variant.model.shape.experts is not None


def _is_pinned_away(deployment: Deployment, place: Place) -> bool:
    return deployment.pin is not None and deployment.pin != pin_of(place.member)


def another_server(search: Search, *, earlier: int = 0) -> Iterator[WayOut]:
    """Yield a further Ollama, where one runner for a file is what binds.

    So many ``earlier`` copies of it that are refused too have got one each by then.
    """
    replica = search.refusal.replica
    stage = search.stage
    for number in range(replica, replica + earlier):
        grown = _with_server(search, stage, number)
        if grown is None:
            return
        stage = grown.with_it
    found = _with_server(search, stage, replica + earlier)
    if found is not None:
        name = found.choice.node
        which = ordinal(len(found.with_it.node(name).instances))
        text = f"With a {which} Ollama on {name} it fits on {where(found.choice)}."
        yield WayOut(kind="instance", value=name, text=text, at_server=True)


class _Grown(NamedTuple):
    """Where a copy fits on a further server, and the plan with both."""

    choice: Choice
    with_it: Stage


def _with_server(search: Search, stage: Stage, replica: int) -> _Grown | None:
    """Start one more server on the first node where a copy fits by that."""
    lab, plan, wanted = stage.lab, stage.plan, search.deployment
    for name in dict.fromkeys(lab.homes[each.name][0].name for each in _servers(search)):
        node = stage.node(name)
        added = second_instance(node, node.instances[0].gpus)
        grown = with_instance(lab, name, added)
        choice = fitting(Stage(grown, plan), wanted, replica, added.name)
        if choice is not None:
            placed = Placement(deployment=wanted, replica=replica, choice=choice, load_order=1)
            return _Grown(
                choice, Stage(grown, replace(plan, placements=(*plan.placements, placed)))
            )
    return None
