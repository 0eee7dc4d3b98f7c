"""What to run where: models of all sizes on the reader's machines and on usual ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from labdash.catalog.gpus import gpus
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
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, Cell, best_cell, cell_at, good_cell, variant_at
from labdash.queries.guide_places import is_phone, place_of, usual_places
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.tag_names import hub_name

PHONES = tuple(each for each in HARDWARE if each.kind == "phone")
PHONE_MODELS = ("llama3.2:1b", "qwen2.5:1.5b", "llama3.2:3b", "qwen2.5:7b")
PHONE_CONTEXT = 4096
# Of macOS 14 and later; before it was debug.iogpu.wired_limit, in bytes (reddit.com/r/LocalLLaMA
# 186phti and others).
SHOW_LIMIT = "sysctl iogpu.wired_limit_mb"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A machine with a cell for each size. ``advice`` is the largest that runs well, if any does.

    ``note`` says what its name may hide.
    """

    place: Place
    is_own: bool
    cells: tuple[Cell, ...]
    advice: Cell | None
    note: str = ""

    @property
    def is_phone(self) -> bool:
        """Whether it can be no machine of a lab."""
        return is_phone(self.place)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A column. Parameters are in billions, ``active`` None where all of them are."""

    model: str
    total: float
    active: float | None


@dataclass(frozen=True, kw_only=True)
class MacSize:
    """A size of a Mac's RAM and what its GPU may use of it, by rule, as seen, and raised."""

    ram_gib: int
    share_bytes: int
    seen_gib: float | None
    limit_mib: int | None

    @property
    def command(self) -> str:
        """Return the command that raises the limit until the next restart, else shows it."""
        return f"sudo {SHOW_LIMIT}={self.limit_mib}" if self.limit_mib else SHOW_LIMIT

    @property
    def raised_bytes(self) -> int | None:
        """Tell what the GPU may use then."""
        return self.limit_mib * MIB if self.limit_mib else None

    @property
    def left_bytes(self) -> int:
        """Tell what is left for macOS as long as nobody raises it."""
        return self.ram_gib * GIB - self.share_bytes

    @property
    def least_left_bytes(self) -> int | None:
        """Tell what was left where the GPU was seen to get more."""
        return None if self.seen_gib is None else round((self.ram_gib - self.seen_gib) * GIB)


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
    """Return the reader's machines, then the usual ones."""
    notes = {each.key: _note(each) for each in HARDWARE if each.plain}
    mine = (_row(each, context, is_own=True) for each in own)
    others = (_row(each, context, note=notes.get(each.key, "")) for each in usual_places())
    return (*mine, *others)


def row(place: Place, context: int) -> Row:
    """Return one machine; those of the reader alone are a node."""
    return _row(place, context, is_own=bool(place.node))


def _row(place: Place, context: int, *, is_own: bool = False, note: str = "") -> Row:
    cells = tuple(best_cell(name, place, context) for name in SIZES)
    advice = good_cell(place, context)
    return Row(place=place, is_own=is_own, cells=cells, advice=advice, note=note)


def _note(hardware: Hardware) -> str:
    """Say where the memory of the plain chip ends."""
    most = max(max(each.vram_gb) for each in gpus() if each.name == hardware.plain)
    return f"a plain {hardware.plain.removeprefix('Apple ')} ends at {most:g} GB"


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


@kept(1)
def phones() -> tuple[PhoneRow, ...]:
    """Return small models at four bits on each phone."""
    return tuple(_phone_row(name) for name in PHONE_MODELS)


def _phone_row(name: str) -> PhoneRow:
    variant, known = variant_at(name, DEFAULT_QUANT), find_model(name).model
    return PhoneRow(
        cells=tuple(cell_at(name, DEFAULT_QUANT, place_of(each), PHONE_CONTEXT) for each in PHONES),
        params=_billions(known),
        name=hub_name(known, variant.quant, ""),
    )


def phone_rooms() -> tuple[tuple[Hardware, int], ...]:
    """Return the phones, each with what an app may hold there."""
    return tuple((each, round(each.ram_gib * GIB * PHONE_SHARE)) for each in PHONES)
