"""Which file to pull for one machine, and why that one: what the tour of the guide leads to."""

from dataclasses import dataclass

from labdash.catalog.models import find_model
from labdash.catalog.own import kept
from labdash.catalog.quality import Quality, find_quality
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, Cell, best_cell, cell_at, good_cell, quants_for
from labdash.queries.guide_places import is_phone, model_room
from labdash.queries.tag_names import hub_name

# What the tour reckons with: a long talk, or some ten pages.
CONTEXT = 8192


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The file for a machine, and what lies around it.

    ``near`` are the usual files of its model, best first. ``larger`` is the next better one, which
    does not run well; ``smaller`` the next that would fit too; ``beyond`` the next larger model,
    which does not run well. None where there is none such.
    """

    place: Place
    cell: Cell
    near: tuple[Cell, ...]
    larger: Cell | None
    smaller: Cell | None
    beyond: Cell | None

    @property
    def room_bytes(self) -> int | None:
        """Tell what there is for a model, ``None`` where nobody knows."""
        return model_room(self.place)

    @property
    def active(self) -> float | None:
        """Count the weights in billions that a word is made with, None where that is all."""
        known = find_model(self.cell.model).model
        active, total = known.params_active, known.params_total
        return active / 1e9 if active and total and active < total else None

    @property
    def surely(self) -> str:
        """Name a file of the library that runs well too, where nobody has seen the other one."""
        known = find_model(self.cell.model).model
        if not self.cell.variant.guessed or known.ollama is None:
            return ""
        usual = (each for each in self.near if each.variant.quant == known.default_quant)
        return known.ollama if any(each.is_good for each in usual) else ""

    @property
    def steps(self) -> tuple[tuple[Cell, Quality | None], ...]:
        """Return the usual files with what each loses."""
        return tuple((each, find_quality(each.variant.quant)) for each in self.near)

    @property
    def phone_file(self) -> str:
        """Name the file for an app of llama.cpp, nothing where Ollama pulls it."""
        if not is_phone(self.place):
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
    def less(self) -> Quality | None:
        """Return what the next smaller file loses, None where nobody measured it."""
        return find_quality(self.smaller.variant.quant) if self.smaller else None

    @property
    def gain(self) -> float | None:
        """Tell how much less the next better file loses, as a share of perplexity."""
        more = find_quality(self.larger.variant.quant) if self.larger else None
        return self.measured.rise_8b - more.rise_8b if more and self.measured else None


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
        near=tuple(near),
        larger=near[number - 1] if number else None,
        smaller=near[number + 1] if number + 1 < len(near) else None,
        beyond=best_cell(beyond[0], place, CONTEXT) if beyond else None,
    )
