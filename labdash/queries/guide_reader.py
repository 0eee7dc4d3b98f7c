"""The machine that a reader of the guide looks for: one of the lab, or a usual one."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import fits_whole, load_of, variant_at
from labdash.queries.guide_places import (
    find_place,
    machine_choices,
    own_places,
    room_of,
    usual_places,
)
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library

USUAL_PLACE = "rtx-4060"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """``place`` is the machine; ``own`` are those of the lab, which are offered first."""

    place: Place
    own: tuple[Place, ...]

    @property
    def choices(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return what can be chosen, in groups."""
        return machine_choices(self.own)

    @property
    def title(self) -> str:
        """Name the machine."""
        place = self.place
        return f"{place.node}: {place.label}" if place.node else place.label


def fits_here(
    reader: Reader, model: str, quants: Iterable[str], context: int
) -> Mapping[str, bool]:
    """Tell which files of a model lie whole on the reader's machine, of those that can be made.

    Where nobody knows its memory, nothing is told.
    """
    place = reader.place
    rooms = [card.room_bytes for card in place.cards] or [place.ram_bytes]
    if None in rooms:
        return {}
    found = {}
    for quant in quants:
        with suppress(PlannerError):
            found[quant] = _fits(model, quant, place, context)
    return found


@kept(2048)
def _fits(model: str, quant: str, place: Place, context: int) -> bool:
    variant = variant_at(model, quant)
    return fits_whole(variant.model, place, load_of(variant, context, place))


def read_reader(key: str, *, now: datetime) -> Reader:
    """Find the machine of a key, else the roomiest of the lab, else a usual one."""
    own = own_places(read_lab(now=now), read_library())
    roomiest = max(own, key=room_of).key if own else USUAL_PLACE
    place = find_place(key, own) or find_place(roomiest, own) or usual_places()[0]
    return Reader(place=place, own=own)
