"""Quants and contexts on one place: what fits whole, in part, or not, and by how much."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labdash.planner.errors import PlannerError
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.result import DeviceUse, Estimate
from labdash.planner.memory.split import split_layers
from labdash.planner.memory.weights import parts_of, weight_bytes
from labdash.planner.model import Model
from labdash.planner.placing.layers import NEARLY_ALL, half_beside, layers_beside, most_layers
from labdash.planner.settings import Settings
from labdash.queries.fit_loads import Fit, Load, Verdict, missing_bytes
from labdash.queries.fit_models import Chosen, quants_of
from labdash.queries.fit_places import Place

CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
MOST_COLUMNS = 7
# More than 8 bits can hardly be told from them.
PLAIN = ("F32", "F16", "BF16")
# Published so and quantized no further.
NATIVE = "MXFP4"
# Compute buffers of two quants of one model differ by less.
NEAR_BYTES = 192 * 2**20


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
    """All rows. ``all_layers`` counts the output layer too.

    ``best`` is the quant of the least loss that fits whole at the context asked for, empty where
    none does.
    """

    place: Place
    contexts: tuple[int, ...]
    rows: tuple[Row, ...]
    all_layers: int
    best: str = ""


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A context, with what the chosen quant takes there: the others differ by their weights."""

    load: Load
    settings: Settings
    whole: Estimate
    beside: list[int]


def make_table(chosen: Chosen, place: Place, load: Load, exact: Fit) -> Table:
    """Try each quant at each context. ``exact`` is what became of ``load`` itself.

    Other quants are told by their weights, and tried where it is a near thing; their layers may
    be one off.
    """
    contexts = contexts_of(chosen.model, load.context)
    columns = [_column(chosen.model, place, replace(load, context=each)) for each in contexts]
    rows = []
    for quant in quants_of(chosen):
        try:
            model = chosen.at(quant)
        except PlannerError as error:
            rows.append(Row(quant=quant, weight_bytes=None, cells=(), refusal=str(error)))
            continue
        cells = [_cell(model, place, column, chosen.model) for column in columns]
        if quant == chosen.model.quant:
            cells = [_exact(cell, load, exact) for cell in cells]
        rows.append(Row(quant=quant, weight_bytes=model.weight_bytes, cells=tuple(cells)))
    return Table(
        place=place,
        contexts=contexts,
        rows=tuple(rows),
        all_layers=chosen.model.shape.block_count + 1,
        best=_best(chosen, rows, load.context),
    )


def _best(chosen: Chosen, rows: Iterable[Row], context: int) -> str:
    """Choose the largest that fits whole: of 16 bits only what has no other."""
    own = chosen.own_quant or ""
    fitting = [
        row.quant
        for row in rows
        if any(cell.context == context and cell.verdict == "whole" for cell in row.cells)
    ]
    if own.startswith(NATIVE):
        return own if own in fitting else ""
    smaller = [quant for quant in fitting if quant not in PLAIN]
    return next(reversed(smaller or fitting), "")


def contexts_of(model: Model, wanted: int) -> tuple[int, ...]:
    """Return the contexts to compare: the usual ones that the model can, and the wanted one."""
    trained = model.shape.ctx_train or CONTEXTS[-1]
    usual = [context for context in CONTEXTS if context <= trained][-MOST_COLUMNS:]
    return tuple(sorted({*usual, wanted}))


def _column(model: Model, place: Place, load: Load) -> _Column:
    settings = load.on(place)
    return _Column(
        load=load,
        settings=settings,
        whole=estimate(model, settings),
        beside=half_beside(model, settings) if place.cards else [],
    )


def _cell(model: Model, place: Place, column: _Column, like: Model) -> Cell:
    whole = column.whole if model is like else _with_weights(model, column, like)
    if _is_near(whole, place, column.settings):
        whole = estimate(model, column.settings)
    context = column.load.context
    if not place.cards:
        short = max(0, whole.host.total_bytes - (place.ram_bytes or 0))
        verdict: Verdict = "unknown" if place.ram_bytes is None else "no" if short else "whole"
        return Cell(context=context, verdict=verdict, short_bytes=short)
    if whole.fits is not False:
        return Cell(context=context, verdict="unknown" if whole.fits is None else "whole")
    if short := missing_bytes(whole, place):
        return Cell(context=context, verdict="no", short_bytes=short)
    return Cell(
        context=context,
        verdict="part",
        layers=_layers(model, column),
        short_bytes=sum(device.short_bytes or 0 for device in whole.devices),
    )


def _with_weights(model: Model, column: _Column, like: Model) -> Estimate:
    """Tell what a model takes that differs from another by the types of its weights."""
    settings, whole = column.settings, column.whole
    split = split_layers(model.shape.block_count, settings)
    own, theirs = (
        weight_bytes(parts_of(each, ()), split, len(settings.gpus)) for each in (model, like)
    )
    devices = tuple(
        _grown(device, own[i] - theirs[i], settings.gpus[i].free_bytes)
        for i, device in enumerate(whole.devices)
    )
    host = replace(whole.host, weights_bytes=whole.host.weights_bytes + own[-1] - theirs[-1])
    fits = None if whole.fits is None else not any(device.short_bytes for device in devices)
    return replace(whole, devices=devices, host=host, fits=fits)


def _grown(device: DeviceUse, more_bytes: int, free_bytes: int | None) -> DeviceUse:
    grown = replace(device, weights_bytes=device.weights_bytes + more_bytes)
    if free_bytes is None:
        return grown
    return replace(grown, short_bytes=max(0, grown.total_bytes - free_bytes))


def _is_near(whole: Estimate, place: Place, settings: Settings) -> bool:
    """Tell whether the difference of compute buffers could decide."""
    rooms = [gpu.free_bytes for gpu in settings.gpus] or [place.ram_bytes]
    totals = [device.total_bytes for device in whole.devices] or [whole.host.total_bytes]
    return any(
        room is not None and abs(total - room) < NEAR_BYTES
        for total, room in zip(totals, rooms, strict=True)
    )


def _layers(model: Model, column: _Column) -> int:
    top = model.shape.block_count
    layers = layers_beside(model, column.settings, column.beside, top=top)
    if layers <= NEARLY_ALL * top:
        return layers
    return sum(device.layers for device in most_layers(model, column.settings)[1].devices)


def _exact(cell: Cell, load: Load, exact: Fit) -> Cell:
    if cell.context != load.context:
        return cell
    return Cell(
        context=cell.context,
        verdict=exact.verdict,
        layers=exact.layers,
        short_bytes=exact.short_bytes,
        wanted=True,
    )
