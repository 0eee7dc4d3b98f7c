"""The lab as if its cards were free, and as it is now with the models that are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from labdash.planner.lab import Card, Lab, Node
from labdash.queries.bars import GpuView, LoadedView, loaded_models, view_gpus, view_ram
from labdash.queries.lab import LabView, NodeView
from labdash.queries.library import Library
from labdash.queries.snapshot import snapshot
from labdash.wording import MIB, age, size

_NO_LIBRARY = Library(families={}, quants={})
# What is in use wavers all the time. It is taken as the next multiple, so that what was worked out
# a moment ago still holds.
STEP_BYTES = 32 * MIB
RAM_STEP_BYTES = 256 * MIB


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Each node twice, by its name. ``untold`` says of which nobody knows what is free now.

    ``holds`` says in words what is loaded, ``doubts`` what is a guess even with all unloaded.
    """

    free: Mapping[str, Node]
    now: Mapping[str, Node]
    untold: Mapping[str, str]
    holds: Mapping[str, str]
    doubts: Mapping[str, str] = field(default_factory=dict)


def read_rooms(view: LabView) -> Rooms:
    """Read both."""
    lab: Lab = snapshot(view, wanted=())
    free = {node.name: _steady(node) for node in lab.nodes}
    now, untold, holds, doubts = {}, {}, {}, {}
    for each in view.nodes:
        slug = each.node.slug
        loaded = loaded_models(each, _NO_LIBRARY)
        gpus = view_gpus(each, loaded)
        now[slug] = _as_now(free[slug], each, gpus, loaded)
        untold[slug] = _why_untold(each, gpus, loaded)
        holds[slug] = ", ".join(f"{m.name} ({size(m.model.size_bytes)})" for m in loaded)
        doubts[slug] = next((card.doubt for card in free[slug].cards if card.doubt), "")
    return Rooms(free=free, now=now, untold=untold, holds=holds, doubts=doubts)


def _steady(node: Node) -> Node:
    cards = tuple(
        replace(card, used_bytes=min(card.total_bytes, _up(card.used_bytes, STEP_BYTES)))
        for card in node.cards
    )
    return replace(node, cards=cards, ram_used_bytes=_up(node.ram_used_bytes, RAM_STEP_BYTES))


def _up(size_bytes: int, step: int) -> int:
    return -(-size_bytes // step) * step


def _as_now(
    node: Node, view: NodeView, gpus: tuple[GpuView, ...], loaded: tuple[LoadedView, ...]
) -> Node:
    """Count the models that are loaded as taken; the same object where there are none."""
    seen = {gpu.reading.index: gpu for gpu in gpus}
    cards = tuple(_card(card, seen.get(card.index)) for card in node.cards)
    ram = view_ram(view, loaded)
    parts = ram.segments if ram else ()
    held = sum(part.size_bytes for part in parts if part.kind == "model")
    if node.unified:
        held += sum(each.model.size_vram_bytes or 0 for each in loaded)
    if cards == node.cards and not held:
        return node
    ram_used = _up(node.ram_used_bytes + held, RAM_STEP_BYTES)
    return replace(node, cards=cards, ram_used_bytes=ram_used)


def _card(card: Card, gpu: GpuView | None) -> Card:
    if gpu is None:
        return card
    parts = [part for part in gpu.bar.segments if part.kind != "free"]
    models = sum(part.size_bytes for part in parts if part.kind == "model")
    # Models whose processes are not to be seen are among the others.
    everything = sum(part.size_bytes for part in parts)
    used = _up(max(card.used_bytes + models, everything), STEP_BYTES)
    used = min(card.total_bytes, used)
    return card if used == card.used_bytes else replace(card, used_bytes=used)


def _why_untold(view: NodeView, gpus: tuple[GpuView, ...], loaded: tuple[LoadedView, ...]) -> str:
    """Say why nobody knows what is free now, nothing where somebody does."""
    if view.age_s is None:
        return "nothing was reported yet"
    if view.liveness not in ("live", "late"):
        return f"silent for {age(view.age_s)}"
    holding = any(each.model.size_vram_bytes for each in loaded)
    blind = next((gpu.untold for gpu in gpus if gpu.basis == "unknown" and gpu.untold), "")
    return blind[:1].lower() + blind[1:].rstrip(".") if blind and holding else ""
