"""What would become of a model on one server: whole, in part or not at all, and how long a context.

Nothing is planned here: the server is asked for one load, and decides as its version does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from labdash.planner.lab import Instance, Node, Variant
from labdash.planner.memory.estimate import estimate
from labdash.planner.placing.forms import Way, most_of_it, on_cpu, whole
from labdash.planner.placing.layers import most
from labdash.planner.placing.old_engine import gathered
from labdash.planner.placing.outcome import (
    Found,
    Miss,
    Outcome,
    Trial,
    all_layers,
    learned_of,
    settings_of,
)
from labdash.planner.placing.seats import Seat, engine_free_bytes, seats_at
from labdash.planner.placing.spreading import divided, left_in_part, spread, would_spread
from labdash.planner.plan import Limit

# Contexts are sought in steps of so many tokens.
STEP = 1024
# Of a model that does not tell what it was trained with.
UNTOLD_CTX = 131_072

type Verdict = Literal["whole", "ram", "part", "no", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """``ram`` is whole in the RAM of a server without a GPU, ``unknown`` where sizes are not told.

    ``gpus`` are the node's numbers. ``most_ctx`` is the longest context of a slot that fits whole,
    0 where none does, None where that is not known; ``most_gpus`` are those that it takes where
    ``gpus`` hold less. ``short_bytes`` is what is missing: for a part
    to fit whole, for what does not fit to fit at all; None where memory is not what binds, which
    ``text`` tells. ``experts`` of the layers beside the GPU's are on it but for their experts.
    ``is_tight``: the engine by itself would load all of it, and keep less free than it should.
    """

    verdict: Verdict
    layers: int = 0
    all_layers: int = 0
    gpus: tuple[int, ...] = ()
    most_ctx: int | None = None
    most_gpus: tuple[int, ...] = ()
    tokens_per_s: float | None = None
    short_bytes: int | None = None
    limit: Limit | None = None
    experts: int = 0
    is_tight: bool = False
    text: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether no layer is where it should not be."""
        return self.verdict in ("whole", "ram")


def prospect(node: Node, instance: Instance, variant: Variant, ctx: int) -> Prospect:
    """Tell what becomes of a load with a context of ``ctx`` tokens a slot."""
    layers = all_layers(variant)
    if why := _untold(node, instance):
        return Prospect(verdict="unknown", all_layers=layers, text=why)
    places = [(member.gpus, seat) for member, seat in seats_at(node, instance).items()]
    on_gpus = [(gpus, seat) for gpus, seat in places if gpus]
    reach = {gpus: _most_ctx(variant, seat) for gpus, seat in on_gpus or places}
    most_ctx = max(reach.values(), default=0)
    tried = [
        (gpus, way(Trial(variant, ctx, seat)))
        for gpus, seat in on_gpus or places
        for way in [_whole_way(seat)]
    ]
    made = [(gpus, found) for gpus, found in tried if not isinstance(found, Miss)]
    if made:
        gpus, found = max(made, key=lambda each: (each[1].tokens_per_s or 0.0, -len(each[0])))
        verdict: Verdict = "whole" if on_gpus else "ram"
        farther = () if reach[gpus] == most_ctx else max(reach, key=reach.__getitem__)
        return replace(_made(verdict, gpus, found, most_ctx), most_gpus=farther)
    misses = [found for _, found in tried if isinstance(found, Miss)]
    parted = [(gpus, found) for gpus, found in _parts(variant, ctx, places if on_gpus else [])]
    if parted:
        gpus, found = max(parted, key=lambda each: _by_pace(each[1]))
        tight = any(_is_tight(Trial(variant, ctx, seat)) for _, seat in on_gpus)
        made_part = _made("part", gpus, found, most_ctx, missing=_nearest(misses))
        return replace(made_part, is_tight=tight)
    return _none(misses, variant, ctx, places, most_ctx)


def _untold(node: Node, instance: Instance) -> str:
    """Say why nothing can be told, nothing where it can."""
    seen = [card for card in node.cards if card.index in instance.gpus]
    if any(not card.total_bytes for card in seen):
        return "the size of its GPU is not known"
    if not seen and node.ram_room_bytes is None:
        return "neither its GPUs nor its RAM were told"
    return ""


def _whole_way(seat: Seat) -> Way:
    if not seat.cards:
        return on_cpu
    if not seat.joined:
        return whole
    return gathered if seat.rules.old else spread


def _most_ctx(variant: Variant, seat: Seat) -> int:
    """Find the longest context that fits whole on a seat.

    Where Ollama would rather take one GPU than all, more still fits on all of them.
    """
    top = variant.model.shape.ctx_train or UNTOLD_CTX
    way = _whole_way(seat)

    def found(steps: int) -> Found:
        return way(Trial(variant, min(steps * STEP, top), seat))

    def fits(steps: int) -> bool:
        if seat.joined and _is_far_too_large(Trial(variant, min(steps * STEP, top), seat)):
            return False
        tried = found(steps)
        return isinstance(tried, Outcome) or (seat.joined and tried.short_bytes is None)

    steps = most(fits, -(-top // STEP))
    is_one = bool(steps) and isinstance(found(steps), Outcome)
    return min(steps * STEP, top) if is_one else 0


@lru_cache(maxsize=16_384)
def _is_far_too_large(trial: Trial) -> bool:
    """Tell without a division what no division can make fit: it takes more than all GPUs have."""
    cards = trial.seat.cards
    settings = settings_of(trial, sized=True)
    found = estimate(trial.variant.model, settings, learned=learned_of(cards))
    return sum(each.total_bytes for each in found.devices) > sum(c.room_bytes for c in cards)


def _parts(
    variant: Variant, ctx: int, places: list[tuple[tuple[int, ...], Seat]]
) -> Iterator[tuple[tuple[int, ...], Outcome]]:
    """Yield what the engine divides, and the CPU alone."""
    for gpus, seat in places:
        for way in _part_ways(seat):
            found = way(Trial(variant, ctx, seat))
            if not isinstance(found, Miss):
                yield gpus, found
                break


def _part_ways(seat: Seat) -> tuple[Way, ...]:
    """Return what a server does of itself, then what can be asked of it."""
    if not seat.cards:
        return (on_cpu,)
    if seat.joined and seat.rules.old:
        return (_most_on_one,)
    return (left_in_part,) if seat.joined else (left_in_part, most_of_it)


def _is_tight(trial: Trial) -> bool:
    """Tell whether the engine finds room for all that by our reckoning lacks some of its margin."""
    seat = trial.seat
    if seat.rules.old or not seat.rules.fit or (seat.joined and not would_spread(trial)):
        return False
    return divided(trial).is_whole(trial)


def _most_on_one(trial: Trial) -> Found:
    """Tell how much fits on the freest of several GPUs: an old engine finds room for more."""
    cards = trial.seat.cards
    best = max(range(len(cards)), key=lambda position: engine_free_bytes(cards[position]))
    alone = replace(trial.seat, cards=(cards[best],), joined=False)
    found = most_of_it(trial._replace(seat=alone))
    if isinstance(found, Miss):
        return found
    held = [0] * len(cards)
    held[best] = found.gpu_bytes[0]
    return replace(found, gpu_bytes=tuple(held))


def _by_pace(found: Outcome) -> tuple[float, int]:
    return found.tokens_per_s or 0.0, -found.cpu_layers


def _made(
    verdict: Verdict,
    gpus: tuple[int, ...],
    found: Outcome,
    most_ctx: int,
    *,
    missing: Miss | None = None,
) -> Prospect:
    used = tuple(gpu for gpu, size in zip(gpus, found.gpu_bytes, strict=False) if size)
    return Prospect(
        verdict=verdict,
        layers=sum(found.layers),
        all_layers=all_layers(found.variant),
        gpus=used,
        most_ctx=most_ctx,
        tokens_per_s=found.tokens_per_s,
        short_bytes=missing.short_bytes if missing else None,
        limit=missing.limit if missing else None,
        experts=found.cpu_experts,
    )


def _nearest(misses: list[Miss]) -> Miss | None:
    """Return what lacks the least memory, else whatever binds."""
    short = [each for each in misses if each.short_bytes is not None]
    return min(short, key=lambda each: each.short_bytes or 0, default=next(iter(misses), None))


def _none(
    misses: list[Miss],
    variant: Variant,
    ctx: int,
    places: list[tuple[tuple[int, ...], Seat]],
    most_ctx: int,
) -> Prospect:
    """Say what is missing for it to be loaded at all: RAM, unless the engine refuses it."""
    lacking = [
        found
        for _, seat in places
        for way in _part_ways(seat)
        for found in [way(Trial(variant, ctx, seat))]
        if isinstance(found, Miss) and found.limit == "ram"
    ]
    binding = _nearest(lacking) or _nearest(misses)
    return Prospect(
        verdict="no",
        all_layers=all_layers(variant),
        most_ctx=most_ctx,
        short_bytes=binding.short_bytes if binding else None,
        limit=binding.limit if binding else None,
        text=binding.text if binding else "no place for it is known",
    )
