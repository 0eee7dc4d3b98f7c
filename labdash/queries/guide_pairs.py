"""Two cards are two memories: models on one card and on all that a machine has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, Cell, cell_at, variant_at
from labdash.queries.guide_places import usual_places
from labdash.queries.opening import DEFAULT_QUANT

USUAL_PAIR = "2-rtx-3090"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model at four bits on one card of a place, and on all of its cards."""

    place: Place
    one: Cell
    all: Cell


def pairs(own: Iterable[Place], context: int) -> tuple[Pair, ...]:
    """Return the reader's machines of several cards, a usual one where there are none."""
    several = [each for each in own if len(each.cards) > 1]
    usual = [each for each in usual_places() if each.key == USUAL_PAIR]
    return tuple(pair for place in several or usual for pair in _pairs(place, context))


def _pairs(place: Place, context: int) -> Iterator[Pair]:
    """Yield the largest dense model that one card holds, and the largest that all do."""
    card = max(place.cards, key=lambda each: each.room_bytes or 0)
    single = replace(place, cards=(card,))
    found = [
        Pair(place=place, one=_at_four(name, single, context), all=_at_four(name, place, context))
        for name in SIZES
        if _is_dense(name)
    ]
    alone = [each for each in found if each.one.verdict == "whole"]
    together = [each for each in found if each.all.verdict == "whole"]
    yield from alone[-1:]
    yield from (each for each in together[-1:] if each not in alone[-1:])


def _is_dense(name: str) -> bool:
    return variant_at(name, DEFAULT_QUANT).model.shape.experts is None


def _at_four(name: str, place: Place, context: int) -> Cell:
    return cell_at(name, DEFAULT_QUANT, place, context)
