"""What to run where: models of all sizes on the reader's machines and on usual ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from labdash.catalog.hardware import (
    GIB,
    HARDWARE,
    MAC_SIZES_GIB,
    MIB,
    PHONE_SHARE,
    SEEN_MAC_GIB,
    Hardware,
    mac_limit_mib,
    mac_share_bytes,
)
from labdash.catalog.models import CatalogModel, find_model
from labdash.catalog.own import kept
from labdash.planner.lab import Variant
from labdash.planner.memory.estimate import estimate
from labdash.queries.fit_places import Place
from labdash.queries.fit_table import contexts_of
from labdash.queries.guide_cells import (
    SIZES,
    Cell,
    best_cell,
    cell_of,
    fits_whole,
    load_of,
    quants_for,
    variant_at,
)
from labdash.queries.guide_places import place_of, usual_places
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.tag_names import hub_name

PHONES = tuple(each for each in HARDWARE if each.kind == "phone")
PHONE_MODELS = ("llama3.2:1b", "qwen2.5:1.5b", "llama3.2:3b", "qwen2.5:7b")
PHONE_CONTEXT = 4096
ONE_CARD, TWO_CARDS = "rtx-3090", "2-rtx-3090"
TWO_CARD_MODELS = ("qwen3:32b", "llama3.3:70b")
DENSE, MIXTURE = "qwen3:32b", "qwen3:30b"
MIXTURE_PLACES = ("rtx-3090", "m4-max-64", "mini-pc")
# A drawing of this size, whose lines end a little below its top.
WIDTH, HEIGHT, HEAD = 400, 200, 16
MOST_LINES = 4
USUAL_MODEL = "qwen3:8b"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A machine with a cell for each size. ``advice`` is what to run on it, None for nothing."""

    place: Place
    is_own: bool
    cells: tuple[Cell, ...]

    @property
    def advice(self) -> Cell | None:
        """Return the largest model that runs well."""
        return next((each for each in reversed(self.cells) if each.is_good), None)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A column. Parameters are in billions, ``active`` None where all of them are."""

    model: str
    total: float
    active: float | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A quant with the longest context at which it fits whole. ``line`` draws it."""

    variant: Variant
    most_context: int
    used_bytes: int
    line: str
    colour: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Memory by context for each quant of a model on a place; ``room_bytes`` is all there is.

    ``halved_bytes`` is what half of the longest context saves, ``stepped_bytes`` what the last
    step of the quants does, None for a model of one quant.
    """

    place: Place
    model: str
    top_context: int
    top_bytes: int
    room_bytes: int
    room_y: float
    halved_bytes: int
    stepped_bytes: int | None
    steps: tuple[Step, ...]
    held: tuple[tuple[int, Cell], ...]

    @property
    def last_quants(self) -> tuple[str, ...]:
        """Return the quants of the last step."""
        return tuple(step.variant.quant for step in self.steps[-2:])


@dataclass(frozen=True, kw_only=True)
class MacSize:
    """A size of a Mac's RAM and what its GPU may use of it, by rule, as seen, and raised."""

    ram_gib: int
    share_bytes: int
    seen_gib: float | None
    limit_mib: int | None

    @property
    def command(self) -> str:
        """Return the command that raises the limit until the next restart."""
        return f"sudo sysctl iogpu.wired_limit_mb={self.limit_mib}" if self.limit_mib else ""

    @property
    def raised_bytes(self) -> int | None:
        """Tell what the GPU may use then."""
        return self.limit_mib * MIB if self.limit_mib else None


@dataclass(frozen=True, kw_only=True)
class PhoneRow:
    """A model at four bits, on each phone. ``name`` is a file that apps of llama.cpp take."""

    cells: tuple[Cell, ...]
    params: float
    name: str


@kept(1)
def sizes() -> tuple[Size, ...]:
    """Return the columns."""
    return tuple(_size(name) for name in SIZES)


def _size(name: str) -> Size:
    known = find_model(name).model
    active = None if known.params_active is None else known.params_active / 1e9
    total = _billions(known)
    return Size(model=name, total=total, active=active if active and active < total else None)


def _billions(known: CatalogModel) -> float:
    return (known.params_total or 0) / 1e9


def rows(own: Iterable[Place], context: int) -> tuple[Row, ...]:
    """Return the reader's machines, then the usual ones; phones have a table of their own."""
    phones = {each.key for each in PHONES}
    others = [place for place in usual_places() if place.key not in phones]
    pairs = [*((place, True) for place in own), *((place, False) for place in others)]
    return tuple(
        Row(
            place=place,
            is_own=is_own,
            cells=tuple(best_cell(name, place, context) for name in SIZES),
        )
        for place, is_own in pairs
    )


def advised(row: Row | None) -> str:
    """Return the model whose curve is shown where none was asked for: a dense one, as most are."""
    cells = reversed(row.cells) if row else ()
    dense = (each for each in cells if each.variant.model.shape.experts is None)
    return next((each.model for each in dense if each.is_good), USUAL_MODEL)


def curve(place: Place, name: str) -> Curve:
    """Tell how memory grows with the context. Raises ``PlannerError`` for an unknown model."""
    variants = [variant_at(name, quant) for quant in quants_for(name)][:MOST_LINES]
    contexts = contexts_of(variants[0].model, load_of(variants[0].model, 8192).context)
    used = [[_used(place, each, context) for context in contexts] for each in variants]
    top = max(used[0][-1], _room(place)) * HEIGHT // (HEIGHT - HEAD)
    stepped = used[-2][-1] - used[-1][-1] if len(used) > 1 else None
    return Curve(
        place=place,
        model=name,
        top_context=contexts[-1],
        top_bytes=top,
        room_bytes=_room(place),
        room_y=_y(_room(place), top),
        halved_bytes=used[-1][-1] - _used(place, variants[-1], contexts[-1] // 2),
        stepped_bytes=stepped,
        steps=tuple(
            Step(
                variant=variant,
                most_context=_most(place, variant),
                used_bytes=sizes_of[0],
                line=_line(contexts, sizes_of, top),
                colour=index + 1,
            )
            for index, (variant, sizes_of) in enumerate(zip(variants, used, strict=True))
        ),
        held=tuple((context, best_cell(name, place, context)) for context in contexts),
    )


def _used(place: Place, variant: Variant, context: int) -> int:
    found = estimate(variant.model, load_of(variant.model, context).on(place))
    if not place.cards:
        return found.host.total_bytes
    return sum(device.total_bytes for device in found.devices)


def _most(place: Place, variant: Variant) -> int:
    load = load_of(variant.model, 2048)
    if not fits_whole(variant.model, place, load):
        return 0
    return cell_of(variant.name, variant, place, load).most_context or 0


def _room(place: Place) -> int:
    rooms = [card.room_bytes for card in place.cards] or [place.ram_bytes]
    return sum(each or 0 for each in rooms)


def _line(contexts: Sequence[int], used: Sequence[int], top: int) -> str:
    points = [
        f"{context * WIDTH / contexts[-1]:.1f},{_y(size, top)}"
        for context, size in zip(contexts, used, strict=True)
    ]
    return "M" + "L".join(points)


def _y(size: int, top: int) -> float:
    return round(HEIGHT - size * HEIGHT / top, 1) if top else HEIGHT


@cache
def macs() -> tuple[MacSize, ...]:
    """Return each size of a Mac's memory."""
    return tuple(
        MacSize(
            ram_gib=size,
            share_bytes=mac_share_bytes(size),
            seen_gib=SEEN_MAC_GIB.get(size),
            limit_mib=mac_limit_mib(size),
        )
        for size in MAC_SIZES_GIB
    )


def _usual(key: str) -> Place:
    return next(place for place in usual_places() if place.key == key)


def one_and_two_cards(context: int) -> tuple[tuple[Cell, Cell], ...]:
    """Return models at four bits on one card and on two of its kind."""
    return tuple((_at_four(name, ONE_CARD, context), _at_four(name, TWO_CARDS, context))
                 for name in TWO_CARD_MODELS)  # fmt: skip


def _at_four(name: str, key: str, context: int) -> Cell:
    variant = variant_at(name, DEFAULT_QUANT)
    return cell_of(name, variant, _usual(key), load_of(variant.model, context))


@dataclass(frozen=True, kw_only=True)
class MixtureRow:
    """A dense model and a mixture of experts of about its size, on one machine."""

    place: Place
    dense: Cell
    mixture: Cell


def mixtures(context: int) -> tuple[MixtureRow, ...]:
    """Return both models at four bits on several machines."""
    return tuple(
        MixtureRow(
            place=_usual(key),
            dense=_at_four(DENSE, key, context),
            mixture=_at_four(MIXTURE, key, context),
        )
        for key in MIXTURE_PLACES
    )


@kept(1)
def phones() -> tuple[PhoneRow, ...]:
    """Return small models at four bits on each phone."""
    return tuple(_phone_row(name) for name in PHONE_MODELS)


def _phone_row(name: str) -> PhoneRow:
    variant, known = variant_at(name, DEFAULT_QUANT), find_model(name).model
    load = load_of(variant.model, PHONE_CONTEXT)
    return PhoneRow(
        cells=tuple(cell_of(name, variant, place_of(each), load) for each in PHONES),
        params=_billions(known),
        name=hub_name(known, variant.quant, ""),
    )


def phone_rooms() -> tuple[tuple[Hardware, int], ...]:
    """Return the phones, each with what an app may hold there."""
    return tuple((each, round(each.ram_gib * GIB * PHONE_SHARE)) for each in PHONES)
