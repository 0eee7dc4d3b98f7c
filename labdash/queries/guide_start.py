"""Start in a minute: what to pull for one machine, and the same by hand with each program."""

from collections.abc import Iterable
from dataclasses import dataclass

from labdash.catalog.models import CatalogModel, find_model
from labdash.planner.file_types import find_file_type
from labdash.queries.addresses import Address
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import (
    SIZES,
    Cell,
    advised_cell,
    cell_of,
    good_cell,
    load_of,
    variant_at,
)
from labdash.queries.guide_commands import Command, HubFile, hub_file, run_commands
from labdash.queries.guide_places import is_phone
from labdash.queries.guide_recipes import AS_PUBLISHED, is_published_small, make_commands
from labdash.queries.opening import DEFAULT_QUANT


@dataclass(frozen=True, kw_only=True)
class Start:
    """A cell with its commands. ``original_bytes`` is what the weights take as published.

    ``file`` is the one that programs besides Ollama load.
    """

    known: CatalogModel
    notice: str
    place: Place
    cell: Cell
    file: HubFile
    run: tuple[Command, ...]
    make: tuple[Command, ...]
    original_bytes: int | None

    @property
    def is_phone(self) -> bool:
        """Whether Ollama does not run there."""
        return is_phone(self.place)


def read_start(
    name: str, quant: str, place: Place, context: int, addresses: Iterable[Address]
) -> Start:
    """Find what to run; without a name the largest model that runs well.

    Raises ``PlannerError`` with one line for an unknown model or quant.
    """
    good = None if name else good_cell(place, context)
    name = name or (good.model if good else SIZES[0])
    found = find_model(name)
    if quant:
        variant = variant_at(name, find_file_type(quant).name)
        cell = cell_of(name, variant, place, load_of(variant, context, place))
    else:
        cell = advised_cell(name, place, context)
    made = cell.variant.quant if cell.variant.quant.startswith(("Q", "IQ")) else DEFAULT_QUANT
    original = AS_PUBLISHED if is_published_small(found.model) else "BF16"
    return Start(
        known=found.model,
        notice=found.notice or "",
        place=place,
        cell=cell,
        file=hub_file(found.model, cell.variant.quant, name),
        run=run_commands(cell, place, found.model, _url(place, addresses)),
        make=make_commands(found.model, made),
        original_bytes=variant_at(name, original).file_bytes,
    )


def _url(place: Place, addresses: Iterable[Address]) -> str:
    """Return the server of a reader's machine that others reach."""
    reached = (each for each in addresses if each.url and each.reach != "closed")
    return next((each.url for each in reached if each.instance.node.slug == place.node), "")
