"""Which file to pull for one machine, and why that one: what the tour of the guide leads to."""

from dataclasses import dataclass

from labdash.catalog.models import find_model
from labdash.catalog.own import kept
from labdash.catalog.quality import Quality, find_quality
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, Cell, best_cell, cell_at, good_cell, quants_for
from labdash.queries.guide_hardware import PHONE_KEYS
from labdash.queries.guide_places import room_of
from labdash.queries.tag_names import hub_name

# What the tour reckons with: a long talk, or some ten pages.
CONTEXT = 8192
# Files that everybody meets: the usual one, and one that is only for need.
KNOWN = ("Q4_K_M", "Q2_K")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The file for a machine, and what lies around it.

    ``larger`` is the next better quant, which does not fit; ``smaller`` the next that would fit
    too; ``beyond`` the next larger model, which does not run well. None where there is none such.
    """

    place: Place
    cell: Cell
    larger: Cell | None
    smaller: Cell | None
    beyond: Cell | None

    @property
    def room_bytes(self) -> int:
        """Tell what there is for a model: on the GPUs, or in the RAM of a machine without any."""
        return room_of(self.place) if self.place.cards else self.place.ram_bytes or 0

    @property
    def phone_file(self) -> str:
        """Name the file for an app of llama.cpp, nothing where Ollama pulls it."""
        if self.place.key not in PHONE_KEYS:
            return ""
        return hub_name(find_model(self.cell.model).model, self.cell.variant.quant, "")

    @property
    def params(self) -> float | None:
        """Count the weights in billions, None where the catalog does not know."""
        known = find_model(self.cell.model).model
        return known.params_total / 1e9 if known.params_total else None

    @property
    def measured(self) -> Quality | None:
        """Return what the file loses, None where nobody measured it."""
        return find_quality(self.cell.variant.quant)

    @property
    def compared(self) -> tuple[Quality, ...]:
        """Return what smaller files than this one lose, of those that are well known."""
        own = self.measured.kld if self.measured else 0.0
        found = (find_quality(each) for each in KNOWN)
        return tuple(each for each in found if each and each.kld > own)

    @property
    def times_worse(self) -> float | None:
        """Tell how many times as much the next smaller file loses."""
        less = find_quality(self.smaller.variant.quant) if self.smaller else None
        return less.kld / self.measured.kld if less and self.measured else None


@kept(64)
def advise(place: Place) -> Advice:
    """Find the largest model that runs well, else the smallest, in its best quant that does."""
    cell = good_cell(place, CONTEXT) or best_cell(SIZES[0], place, CONTEXT)
    beyond = SIZES[SIZES.index(cell.model) + 1 :]
    quants = quants_for(cell.model)
    number = quants.index(cell.variant.quant)
    near = [cell_at(cell.model, each, place, CONTEXT) for each in quants]
    return Advice(
        place=place,
        cell=cell,
        larger=near[number - 1] if number else None,
        smaller=near[number + 1] if number + 1 < len(near) else None,
        beyond=best_cell(beyond[0], place, CONTEXT) if beyond else None,
    )
