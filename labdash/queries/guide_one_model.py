"""One model in all ways: 16, 8 and 4 bits, what each takes, and which machine carries it."""

from collections.abc import Iterable
from dataclasses import dataclass

from labdash.catalog.models import CatalogModel, find_model
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Variant
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.result import DeviceUse
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import Cell, cell_at, load_of, quants_for, reached, variant_at
from labdash.queries.guide_ladder import is_unlike_measured
from labdash.queries.guide_places import is_phone, usual_places
from labdash.queries.quant_ladder import known_quant
from labdash.queries.tag_names import tag_in_sixteen_bits

# Beside 16 bits, of whichever type they are published in.
SMALLER = ("Q8_0", "Q4_K_M")
# What a card of this kind needs beside weights and cache is told for the table of sizes.
MEASURE = "rtx-5090"
# What is published to quantize from: running it gains hardly anything over 8 bits.
FULL = ("F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A quant of the model with what it takes of a GPU that holds all of it.

    ``published``: its file is known to be published, and with what size. ``plan_context`` is what
    to plan it with.
    """

    variant: Variant
    use: DeviceUse
    published: bool
    plan_context: int

    @property
    def is_unlike(self) -> bool:
        """Whether what was measured of the quant was another mix than this."""
        return is_unlike_measured(self.variant.model, self.variant.quant)

    @property
    def bits(self) -> float:
        """Tell the bits of an average weight of the file, without what reads images."""
        rules, own = self.variant.bits_per_weight, self.variant.model.weight_bytes
        size = self.variant.file_bytes
        return rules * (size - self.variant.projector_bytes) / own if size else rules


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A machine with a cell for each quant; None where the engine would refuse it."""

    place: Place
    is_own: bool
    cells: tuple[Cell | None, ...]

    @property
    def is_phone(self) -> bool:
        """Whether it can be no machine of a lab."""
        return is_phone(self.place)

    @property
    def best(self) -> Cell | None:
        """Return the best that runs well, else fits whole; 16 bits only where nothing else is."""
        whole = [each for each in self.cells if each and each.verdict == "whole"]
        small = [each for each in whole if each.variant.quant not in FULL] or whole
        return next((each for each in small if each.is_good), next(iter(small), None))


@dataclass(frozen=True, kw_only=True)
class OneModel:
    """The whole page. ``notice`` says what was assumed of the name."""

    known: CatalogModel
    notice: str
    context: int
    ways: tuple[Way, ...]
    carried: tuple[Carried, ...]

    @property
    def projector_bytes(self) -> int:
        """Tell how much of each download reads images."""
        return self.ways[0].variant.projector_bytes

    @property
    def images_bytes(self) -> int:
        """Tell what that takes of a GPU, with room for the largest image."""
        return self.ways[0].use.images_bytes

    @property
    def is_blind_here(self) -> bool:
        """Whether the reader's machines have it without that."""
        return any(self.known.name in row.place.blind for row in self.carried)

    @property
    def is_projector_reckoned(self) -> bool:
        """Whether nobody published its size alone."""
        return bool(self.ways[0].variant.assumed)

    @property
    def is_embedding(self) -> bool:
        """Whether it makes no text."""
        return self.ways[0].variant.embedding


def params_of(name: str) -> float:
    """Tell how many billion parameters a model of the catalog has."""
    return (find_model(name).model.params_total or 0) / 1e9


def read_model(name: str, own: Iterable[Place], context: int) -> OneModel:
    """Try a model everywhere. Raises ``PlannerError`` with one line for an unknown one."""
    found = find_model(name)
    quants = quants_of(name)
    variants = [variant_at(name, quant) for quant in quants]
    tried = reached(variants[0].model, context)
    pairs = [*((place, True) for place in own), *((place, False) for place in usual_places())]
    return OneModel(
        known=found.model,
        notice=found.notice or "",
        context=tried,
        ways=tuple(_way(found.model, each, context) for each in variants),
        carried=tuple(
            Carried(
                place=place,
                is_own=is_own,
                cells=tuple(_tried(name, quant, place, context) for quant in quants),
            )
            for place, is_own in pairs
        ),
    )


def quants_of(name: str) -> tuple[str, ...]:
    """Return the quants to show; a model of one format has that alone."""
    own = quants_for(name)
    if len(own) == 1:
        return own
    sixteen, _ = tag_in_sixteen_bits(find_model(name).model)
    return sixteen, *SMALLER


def _way(known: CatalogModel, variant: Variant, context: int) -> Way:
    place = next(each for each in usual_places() if each.key == MEASURE)
    load = load_of(variant, context, place)
    return Way(
        variant=variant,
        use=estimate(variant.model, load.on(place)).devices[0],
        published=any(known_quant(file.quant) == variant.quant for file in known.files),
        plan_context=load.context,
    )


def _tried(name: str, quant: str, place: Place, context: int) -> Cell | None:
    try:
        return cell_at(name, quant, place, context)
    except PlannerError:
        return None
