"""Quants and contexts on one place: what fits whole, in part, or not, and by how much."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labdash.planner.errors import PlannerError
from labdash.planner.memory.estimate import estimate
from labdash.planner.model import Model
from labdash.queries.fit_loads import (
    Fit,
    Load,
    Verdict,
    beside_bytes,
    layers_beside,
    missing_bytes,
    most_layers,
)
from labdash.queries.fit_models import Chosen, quants_of
from labdash.queries.fit_places import Place

CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
MOST_COLUMNS = 7
# With few layers on the host the compute buffer is smaller: from here on layers are tried.
NEARLY_ALL = 0.85


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One quant at one context. ``wanted`` is the one that was asked for.

    ``short_bytes`` is what is missing to fit whole, or to fit at all where the verdict is "no".
    """

    context: int
    verdict: Verdict
    layers: int = 0
    short_bytes: int = 0
    wanted: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A quant with the size of its weights. ``refusal`` says why there are no cells."""

    quant: str
    weight_bytes: int | None
    cells: tuple[Cell, ...]
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows. ``all_layers`` counts the output layer too."""

    place: Place
    contexts: tuple[int, ...]
    rows: tuple[Row, ...]
    all_layers: int


def make_table(chosen: Chosen, place: Place, load: Load, exact: Fit) -> Table:
    """Try each quant at each context. ``exact`` is what became of ``load`` itself.

    Its layers were found by trying. The others' follow from their weights and caches, and from a
    compute buffer that was worked out once for each context: they may be one off.
    """
    contexts = contexts_of(chosen.model, load.context)
    beside = {context: _beside(chosen.model, place, load, context) for context in contexts}
    rows = []
    for quant in quants_of(chosen):
        try:
            model = chosen.at(quant)
            cells = [
                _cell(model, place, replace(load, context=context), beside[context])
                for context in contexts
            ]
        except PlannerError as error:
            rows.append(Row(quant=quant, weight_bytes=None, cells=(), refusal=str(error)))
            continue
        if quant == chosen.model.quant:
            cells = list(_with_exact(cells, load.context, exact))
        rows.append(Row(quant=quant, weight_bytes=model.weight_bytes, cells=tuple(cells)))
    layers = chosen.model.shape.block_count + 1
    return Table(place=place, contexts=contexts, rows=tuple(rows), all_layers=layers)


def contexts_of(model: Model, wanted: int) -> tuple[int, ...]:
    """Return the contexts to compare: the usual ones that the model can, and the wanted one."""
    trained = model.shape.ctx_train or CONTEXTS[-1]
    usual = [context for context in CONTEXTS if context <= trained][-MOST_COLUMNS:]
    return tuple(sorted({*usual, wanted}))


def _beside(model: Model, place: Place, load: Load, context: int) -> list[int]:
    """Tell what each GPU holds beside weights and cache where some layers are on the CPU."""
    settings = replace(load, context=context).on(place)
    half = replace(settings, gpu_layers=(model.shape.block_count + 1) // 2)
    return beside_bytes(estimate(model, half)) if place.cards else []


def _cell(model: Model, place: Place, load: Load, beside: Iterable[int]) -> Cell:
    settings = load.on(place)
    whole = estimate(model, settings)
    if not place.cards:
        short = max(0, whole.host.total_bytes - (place.ram_bytes or 0))
        verdict: Verdict = "unknown" if place.ram_bytes is None else "no" if short else "whole"
        return Cell(context=load.context, verdict=verdict, short_bytes=short)
    if whole.fits is not False:
        return Cell(context=load.context, verdict="unknown" if whole.fits is None else "whole")
    short = missing_bytes(whole, place)
    if short:
        return Cell(context=load.context, verdict="no", short_bytes=short)
    layers = layers_beside(model, settings, beside, top=model.shape.block_count)
    if layers > NEARLY_ALL * model.shape.block_count:
        layers = sum(device.layers for device in most_layers(model, settings)[1].devices)
    return Cell(
        context=load.context,
        verdict="part",
        layers=layers,
        short_bytes=sum(device.short_bytes or 0 for device in whole.devices),
    )


def _with_exact(cells: Iterable[Cell], context: int, exact: Fit) -> Iterable[Cell]:
    for cell in cells:
        if cell.context != context:
            yield cell
            continue
        yield Cell(
            context=context,
            verdict=exact.verdict,
            layers=exact.layers,
            short_bytes=exact.short_bytes,
            wanted=True,
        )
