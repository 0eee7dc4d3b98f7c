"""What comes of several loads on one node, in an order in which none drives out another."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, islice, permutations

from labdash.planner.lab import Node
from labdash.planner.ollama import GIB
from labdash.planner.placing.eviction import Loaded, in_turn
from labdash.planner.placing.filling import (
    Conflict,
    Fill,
    Pick,
    Same,
    Site,
    largest,
    site_of,
    together,
)
from labdash.planner.placing.inventory import blob_key
from labdash.planner.placing.turns import taking_turns
from labdash.planner.plan import Choice

__all__ = ["Conflict", "Load", "Pick", "Settled", "settle"]

# Servers that share GPUs are few, and so are the orders to load them in.
MOST_ORDERS = 6


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Load:
    """``choice`` is as it comes out at its turn. ``shares`` names whose runner serves it too.

    ``load_order`` counts from 1 on each server, residents first.
    """

    pick: Pick
    choice: Choice
    load_order: int
    shares: str | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Settled:
    """``loads`` are in the order of loading; ``devices`` gives the planned bytes of each device."""

    loads: tuple[Load, ...]
    devices: Mapping[str, int]


def settle(node: Node, picks: Sequence[Pick]) -> Settled | Conflict:
    """Load all that is picked on a node, the same way whatever order the picks come in."""
    return _settled(Same(node), tuple(sorted(picks, key=lambda pick: pick.rank)))


@lru_cache(maxsize=20_000)
def _settled(same: Same, picks: tuple[Pick, ...]) -> Settled | Conflict:
    site = site_of(same)
    runners = _runners(picks)
    if isinstance(runners, Conflict):
        return runners
    first = [group[0] for group in runners]
    if conflict := _too_many(site, first) or _disk(site, first):
        return conflict
    found = _all_loaded(site, first)
    if isinstance(found, Conflict):
        return _with_parties(found, first)
    loads, fill = found
    settled = _settlement(site, loads, runners, fill)
    return _apart(settled.loads) or settled


def _with_parties(conflict: Conflict, picks: Sequence[Pick]) -> Conflict:
    """Name all that hold the device at odds; guests of one server never meet there."""
    named = [pick for pick in picks if pick.deployment.name in conflict.between]
    waiting = {pick.choice.instance for pick in named if not pick.deployment.resident}
    names = {
        pick.deployment.name
        for pick in picks
        if conflict.device in pick.choice.bytes
        and (pick.deployment.resident or pick.choice.instance not in waiting)
    }
    return replace(conflict, between=tuple(sorted({*names, *conflict.between})))


def _settlement(
    site: Site, loaded: Sequence[Loaded], runners: Sequence[Sequence[Pick]], fill: Fill
) -> Settled:
    sharing = {group[0]: group[1:] for group in runners}
    counts: dict[str, int] = {}
    loads = []
    for pick, choice in loaded:
        order = counts[choice.instance] = counts.get(choice.instance, 0) + 1
        loads.append(Load(pick=pick, choice=choice, load_order=order))
        owner = pick.deployment.name
        loads += [
            Load(pick=each, choice=choice, load_order=order, shares=owner) for each in sharing[pick]
        ]
    devices = {site.device(gpu): size for gpu, size in sorted(fill.gpus.items()) if size}
    ram = fill.ram - (sum(fill.gpus.values()) if site.node.unified else 0)
    return Settled(loads=tuple(loads), devices=devices | ({site.host: ram} if ram else {}))


# -- what needs no simulation


def _runners(picks: Iterable[Pick]) -> list[list[Pick]] | Conflict:
    """Group picks that one runner serves, the resident ones first."""
    found: dict[tuple[str, str], list[Pick]] = {}
    homes: dict[tuple[str, str], Pick] = {}
    for pick in picks:
        wanted, choice = pick.deployment, pick.choice
        group = found.setdefault((choice.instance, blob_key(choice.variant)), [])
        if homes.setdefault((wanted.name, choice.instance), pick) is not pick:
            return _runner(pick, pick, f"Two replicas of {wanted.name} cannot share a server.")
        if group and not is_same_load(group[0].choice, choice):
            text = f"A server runs {choice.variant.name} once, with one context and on one place."
            return _runner(group[0], pick, text)
        group.append(pick)
    return list(found.values())


def is_same_load(one: Choice, other: Choice) -> bool:
    """Tell whether one runner can serve both."""
    return way_of(one) == way_of(other)


def way_of(choice: Choice) -> tuple[object, ...]:
    """Tell how a runner runs: deployments share it only where that is the same."""
    return (
        choice.ctx,
        choice.form,
        choice.num_gpu,
        choice.main_gpu,
        choice.num_batch,
        choice.devices,
    )


def _runner(one: Pick, other: Pick, text: str) -> Conflict:
    names = tuple(sorted({one.deployment.name, other.deployment.name}))
    return Conflict(limit="runner", text=text, between=names)


def _too_many(site: Site, picks: Sequence[Pick]) -> Conflict | None:
    """Count what a server may hold at once: all that stays, and one that takes its turn."""
    for name, rules in site.rules.items():
        here = [pick for pick in picks if pick.choice.instance == name]
        staying = sum(pick.deployment.resident for pick in here)
        if staying + (staying < len(here)) > rules.most_loaded:
            word = "model" if rules.most_loaded == 1 else "models"
            text = f"{name} holds {rules.most_loaded} {word} at once at most."
            names = tuple(sorted({pick.deployment.name for pick in here}))
            return Conflict(limit="runner", text=text, between=names)
    return None


def _disk(site: Site, picks: Iterable[Pick]) -> Conflict | None:
    """Sum what has to be downloaded, each file once."""
    files = {blob_key(pick.choice.variant): pick for pick in picks if pick.choice.download_bytes}
    needed = sum(pick.choice.download_bytes for pick in files.values())
    free = site.node.disk_free_bytes
    if free is None or needed <= free:
        return None
    return Conflict(
        limit="disk",
        short_bytes=needed - free,
        text=(
            f"{site.node.name} would have to download {needed / GIB:.1f} GiB and has"
            f" {free / GIB:.1f} GiB of disk free."
        ),
        between=tuple(sorted({pick.deployment.name for pick in files.values()})),
    )


def _apart(loads: Sequence[Load]) -> Conflict | None:
    """Find two that must not share a device and do."""
    wary = [load for load in loads if load.pick.deployment.keep_apart]
    for one, other in ((a, b) for a in wary for b in loads if a is not b):
        common = sorted(one.choice.devices & other.choice.devices)
        names = sorted((one.pick.deployment.name, other.pick.deployment.name))
        if common and other.pick.deployment.name in one.pick.deployment.keep_apart:
            text = f"{names[0]} and {names[1]} are to be kept apart, but share {common[0]}."
            return Conflict(limit="apart", device=common[0], text=text, between=tuple(names))
    return None


# -- the loads


def _all_loaded(site: Site, picks: Sequence[Pick]) -> tuple[tuple[Loaded, ...], Fill] | Conflict:
    """Load server by server, in the first order in which all goes well."""
    names = sorted({pick.choice.instance for pick in picks})
    tried = islice(permutations(names), MOST_ORDERS if _share_gpus(site, names) else 1)
    worst: Conflict | None = None
    for order in tried:
        found = _loaded(site, picks, order)
        if not isinstance(found, Conflict):
            return found
        worst = worst or found
    return worst or ((), Fill({}))


def _share_gpus(site: Site, names: Iterable[str]) -> bool:
    seen = [{gpu for member in site.seats[name] for gpu in member.gpus} for name in names]
    return any(one & other for one, other in combinations(seen, 2))


def _loaded(
    site: Site, picks: Sequence[Pick], order: Sequence[str]
) -> tuple[tuple[Loaded, ...], Fill] | Conflict:
    done: list[Loaded] = []
    fill = Fill({})
    for name in order:
        staying = [p for p in picks if p.choice.instance == name and p.deployment.resident]
        found = in_turn(site, fill, staying)
        if isinstance(found, Conflict):
            return found
        done += found
        for _, choice in found:
            fill = fill.plus(site, choice)
    return _with_guests(site, picks, order, (tuple(done), fill))


def _with_guests(
    site: Site,
    picks: Sequence[Pick],
    order: Sequence[str],
    staying: tuple[tuple[Loaded, ...], Fill],
) -> tuple[tuple[Loaded, ...], Fill] | Conflict:
    """Let those take turns that are loaded on demand: one of each server at a time."""
    done, fill = staying
    residents = Counter(choice.instance for _, choice in done)
    for name in order:
        guests = [p for p in picks if p.choice.instance == name and not p.deployment.resident]
        found = taking_turns(site, fill, guests, residents=residents[name])
        if isinstance(found, Conflict):
            return found
        done += found
        empty = Fill({})
        fill = together((fill, largest(empty.plus(site, choice) for _, choice in found)))
    return done, fill
