"""Which models of the catalog the lab can serve: each on the fastest place that holds it whole."""

from dataclasses import dataclass, replace
from typing import Literal

from labdash.catalog.entries import MOST_ENTRIES
from labdash.catalog.models import CatalogModel, PublishedFile, models
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.result import Estimate
from labdash.planner.speed import Speed
from labdash.queries.fit_loads import Load, missing_bytes, speed_of
from labdash.queries.fit_models import choose_stock
from labdash.queries.fit_places import Place, places_of, steady
from labdash.queries.lab import LabView
from labdash.queries.library import Library
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.quant_ladder import known_quant
from labdash.queries.shelf import default_quant
from labdash.queries.variants import has_own_making, projector_of

CONTEXT = 8192

type Kind = Literal["whole", "part", "no", "unknown"]
ORDER: tuple[Kind, ...] = ("whole", "part", "no", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFit:
    """What becomes of a model at its usual quant and 8k, with Ollama's models unloaded.

    ``node`` is where; ``short_bytes`` what is missing there for it to fit whole, or at all.
    ``speed`` is told of what fits whole, where bandwidths are known.
    """

    kind: Kind
    quant: str
    node: str = ""
    label: str = ""
    in_ram: bool = False
    short_bytes: int = 0
    speed: Speed | None = None
    weight_bytes: int | None = None
    text: str = ""


def lab_places(lab: LabView, library: Library) -> tuple[Place, ...]:
    """Return where a model could be loaded."""
    found = [p for view in lab.nodes for p in places_of(view, library, without_models=True)]
    return tuple(map(steady, found))


def usual_quant(known: CatalogModel) -> str:
    """Return the quant that a model's own name stands for."""
    return known_quant(default_quant(known)) or DEFAULT_QUANT


def lab_fit(known: CatalogModel, places: tuple[Place, ...]) -> LabFit:
    """Tell whether a lab can serve a model at its usual quant."""
    return quant_fit(known, usual_quant(known), places)


def file_fit(
    known: CatalogModel, file: PublishedFile, quant: str, places: tuple[Place, ...]
) -> LabFit:
    """Tell it of a file: of a quant the library has some of its own making."""
    converted = has_own_making(known) and file.file != known.ollama
    return quant_fit(known, quant, places, converted=converted)


def quant_fit(
    known: CatalogModel, quant: str, places: tuple[Place, ...], *, converted: bool = False
) -> LabFit:
    """Tell it of one quant. What makes no text has no speed of making it."""
    found = _fit(known.name, quant, places, converted=converted)
    return replace(found, speed=None) if "embedding" in known.capabilities else found


# More than the catalog can hold, else a page would ask for ever: each that it works out would push
# out the one that it asks for next.
@kept(4 * MOST_ENTRIES)
def _fit(name: str, quant: str, places: tuple[Place, ...], *, converted: bool) -> LabFit:
    try:
        model = choose_stock(name, quant, converted=converted)
    except PlannerError as error:
        return LabFit(kind="unknown", quant=quant, text=str(error))
    # One GPU before several, and RAM alone where nothing else will do.
    for many in (1, 2, 0):
        sized = (each for each in places if min(len(each.cards), 2) == many)
        found = [_on(name, quant, each, converted=converted) for each in sized]
        whole = [each for each in found if each.kind == "whole"]
        if whole:
            return max(whole, key=lambda each: each.speed.low if each.speed else 0.0)
    tried = [_on(name, quant, each, converted=converted) for each in places]
    best = min(tried, key=lambda each: (ORDER.index(each.kind), each.short_bytes), default=None)
    size = model.weight_bytes
    return best or LabFit(kind="unknown", quant=quant, weight_bytes=size, text="there is no node")


@kept(8192)
def _on(name: str, quant: str, place: Place, *, converted: bool) -> LabFit:
    model = choose_stock(name, quant, converted=converted)
    load = Load(context=min(CONTEXT, model.shape.ctx_train or CONTEXT))
    if name not in place.blind:
        load = load.seeing(model, _projector_bytes(name, quant))
    settings = load.on(place)
    here = LabFit(
        kind="unknown",
        quant=quant,
        node=place.node,
        label=place.label,
        in_ram=not place.cards,
        weight_bytes=model.weight_bytes,
    )
    try:
        found = estimate(model, settings)
    except PlannerError as error:
        return replace(here, text=str(error))
    judged = _judge(here, place, found)
    if judged.kind != "whole":
        return judged
    return replace(judged, speed=speed_of(model, place, settings))


@kept(4 * MOST_ENTRIES)
def _projector_bytes(name: str, quant: str) -> int:
    """Size what reads images, which is loaded beside the model."""
    known = next(model for model in models() if model.name == name)
    return projector_of(known, choose_stock(name, quant))[0]


def _judge(here: LabFit, place: Place, found: Estimate) -> LabFit:
    rooms = [card.room_bytes for card in place.cards] or [place.ram_bytes]
    if None in rooms:
        return replace(here, text=f"what is free on {place.node} is not known")
    if not place.cards:
        short = max(0, found.host.total_bytes - (place.ram_bytes or 0))
        return replace(here, kind="no" if short else "whole", short_bytes=short)
    if found.fits:
        return replace(here, kind="whole")
    if short := missing_bytes(found, place):
        return replace(here, kind="no", short_bytes=short)
    lacking = sum(device.short_bytes or 0 for device in found.devices)
    return replace(here, kind="part", short_bytes=lacking)
