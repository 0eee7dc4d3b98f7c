"""Why a deployment is refused: what binds, with numbers, on the place that comes nearest."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from labdash.planner.lab import Card, Lab
from labdash.planner.loading import Conflict
from labdash.planner.placement import why_none
from labdash.planner.plan import Choice, Plan, Refusal
from labdash.planner.telling.near import Near, Search, first_of_each
from labdash.planner.telling.stage import Stage, lacked_bytes, where
from labdash.planner.telling.ways_out import Smaller, for_later_copy, ways_out
from labdash.planner.telling.words import bare_gib, clause, gib, tokens


def with_refusals(lab: Lab, plan: Plan, *, smaller: Smaller | None = None) -> Plan:
    """Say of each refusal what binds, and what would help."""
    stage, firsts = Stage(lab, plan), first_of_each(plan)
    searches = {name: Search(stage, first) for name, first in firsts.items()}
    told = {name: _explained(search, smaller) for name, search in searches.items()}
    refusals = []
    seen: Counter[str] = Counter()
    for each in plan.refusals:
        name = each.deployment.name
        refusals.append(_of_copy(searches[name], told[name], each.replica, earlier=seen[name]))
        seen[name] += 1
    return replace(plan, refusals=tuple(refusals))


def _of_copy(search: Search, told: Refusal, replica: int, *, earlier: int) -> Refusal:
    """Say of a copy what is said of the first that is refused: it lacks the same."""
    if not earlier:
        return told
    return replace(told, replica=replica, nearest=for_later_copy(search, told.nearest, earlier))


def _explained(search: Search, smaller: Smaller | None) -> Refusal:
    refusal = search.refusal
    if search.fits is not None:
        text = (
            f"{_what(search.fits)} has room on {where(search.fits)}, but the search ended before it"
            " saw that."
        )
        return replace(refusal, limit="lost", short_bytes=None, text=text, nearest=())
    if search.near:
        near = search.near[0]
        limit, short = near.conflict.limit, lacked_bytes(near.conflict)
        text = _text(search, near)
    else:
        none = why_none(search.stage.lab, refusal.deployment)
        limit, short, text = none.limit, none.short_bytes, none.text
    nearest = ways_out(search, limit, smaller=smaller)
    return replace(refusal, limit=limit, short_bytes=short, text=text, nearest=nearest)


def _what(choice: Choice) -> str:
    return f"{choice.variant.quant} at {tokens(choice.ctx)}"


def _text(search: Search, near: Near) -> str:
    choice, conflict = near.choice, near.conflict
    if conflict.device is None or lacked_bytes(conflict) is None:
        return f"{_what(choice)} cannot be on {choice.instance}: {clause(conflict.text)}"
    card = search.stage.card(conflict.device)
    if conflict.limit == "ram" or card is None:
        return _ram_text(search.stage, choice, conflict)
    if conflict.device not in choice.bytes:
        return f"{_what(choice)} cannot be on {choice.instance}: {clause(conflict.text)}"
    return _gpu_text(search, near, card, conflict.device)


def _gpu_text(search: Search, near: Near, card: Card, device: str) -> str:
    choice, short = near.choice, near.conflict.short_bytes or 0
    needed, margin = choice.bytes[device], choice.margin_bytes
    on = "on one GPU" if len(choice.gpu_devices) == 1 else f"on {device}"
    beside = f" and {bare_gib(margin)} beside it" if margin else ""
    free = max(0, needed + margin - short)
    held = ", ".join(_held(search, choice, card, device))
    return (
        f"{_what(choice)} needs {gib(needed)} {on}{beside}; {device} has {bare_gib(free)} free of"
        f" {bare_gib(card.total_bytes)}{f' ({held})' if held else ''}."
    )


def _held(search: Search, choice: Choice, card: Card, device: str) -> Iterator[str]:
    if card.used_bytes:
        yield f"{bare_gib(card.used_bytes)} others"
    if card.reserve_bytes:
        yield f"{bare_gib(card.reserve_bytes)} kept for its owner"
    refusal = search.refusal
    own = {(refusal.deployment.name, refusal.replica)}
    present = search.stage.in_the_way(device, refusal.deployment, choice.instance, own)
    for each in present:
        yield f"{bare_gib(each.choice.bytes[device])} {each.deployment.name}"


def _ram_text(stage: Stage, choice: Choice, conflict: Conflict) -> str:
    node = stage.node(choice.node)
    needed = choice.host_bytes
    if node.unified:
        needed += choice.on_gpus_bytes
    free = max(0, needed - (conflict.short_bytes or 0))
    total = f" of {bare_gib(node.ram_bytes)}" if node.ram_bytes is not None else ""
    what = f"{_what(choice)} needs {gib(needed)} of RAM"
    return f"{what}; {node.name} has {bare_gib(free)} free{total}."
