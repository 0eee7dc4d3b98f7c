"""The verdict before a pull: every quant of a model on every server, at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from labdash.models import Instance, PullSettings
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Instance as Server
from labdash.planner.lab import Node, Variant
from labdash.planner.placing.engine import rules_of
from labdash.planner.prospects import Prospect, prospect
from labdash.queries.before_fetch import (
    Fetch,
    Stores,
    fetch,
    read_cached,
    read_copies,
    read_stores,
)
from labdash.queries.before_names import (
    SAME_QUALITY,
    Family,
    Offer,
    as_published,
    is_own,
    read_family,
)
from labdash.queries.before_room import Rooms, read_rooms
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.limits import limit_now
from labdash.queries.published import Published, can_be_asked, dead_reason, look_up, remembered
from labdash.queries.pull_speed import read_paces
from labdash.queries.room import read_disks
from labdash.queries.snapshot import read_shelf

type Room = Literal["free", "now"]

ROOMS: tuple[Room, ...] = ("free", "now")
# Slower than one reads, whatever its quality.
READ_TOKENS_PER_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """``ctx`` is of one slot. ``look``: registries may be asked, which takes a while.

    ``alone``: only what was named, of which the answer is there at once.
    """

    name: str
    ctx: int = 8192
    room: Room = "free"
    look: bool = False
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """A server. ``now_untold`` says why nobody knows what is free there now, ``doubt`` of a guess.

    ``slots`` are of the first offer.
    """

    instance: Instance
    view: NodeView
    kv_type: str
    slots: int
    version: str
    is_loaded: bool
    holds: str
    doubt: str
    now_untold: str

    @property
    def title(self) -> str:
        """Name it as short as can be."""
        node = self.instance.node.slug
        return node if self.instance.name == "ollama" else f"{node} / {self.instance.name}"

    @property
    def is_ready(self) -> bool:
        """Whether a pull would begin at once."""
        return self.view.liveness in ("live", "late") and not self.instance.node.paused


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A quant on a server, ``shown`` being the one of both that was asked for.

    The other one is told of what was named alone, ``None`` elsewhere.
    ``is_best``: no better quant fits whole there. ``is_picked``: it is proposed to be pulled.
    """

    column: Column
    offer: Offer
    free: Prospect | None
    now: Prospect | None
    shown: Prospect
    fetch: Fetch
    is_gone: bool = False
    is_best: bool = False
    is_picked: bool = False

    @property
    def value(self) -> str:
        """Write what a form sends for it."""
        return f"{self.column.instance.pk}={self.offer.name}"

    @property
    def may_be_pulled(self) -> bool:
        """Whether a pull makes sense: something is to be fetched, is published, and has room."""
        return self.fetch.bytes != 0 and not self.is_gone and not self.fetch.short_bytes

    @property
    def is_good(self) -> bool:
        """Whether it fits whole, is fast enough to be read, and has room on the disk."""
        slow = self.shown.verdict == "ram" and (self.shown.tokens_per_s or 0) < READ_TOKENS_PER_S
        has_room = self.fetch.is_there or not self.fetch.short_bytes
        return self.shown.is_whole and not slow and has_room and not self.is_gone


@dataclass(frozen=True, kw_only=True)
class Row:
    """A quant on all servers. ``published`` is what its registry said, ``None`` if not asked."""

    offer: Offer
    published: Published | None
    is_own: bool
    cells: tuple[Cell, ...]

    @property
    def is_gone(self) -> bool:
        """Whether its registry said that it has no such name."""
        return self.published is not None and self.published.state == "gone"

    @property
    def doubt(self) -> str:
        """Say why nobody knows that it is published, empty where somebody has seen it."""
        if self.is_gone or not self.offer.variant.guessed:
            return ""
        if self.published is None:
            return "not looked up yet" if can_be_asked(self.offer.name) else "not looked up"
        is_dead = bool(dead_reason((self.offer.name,)))
        return "registry not reachable" if is_dead else "registry does not tell"


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """The answer. ``unasked`` counts names of which no registry told anything yet.

    ``dead`` says why a registry could not be asked; ``others`` are names that can be pulled
    instead of the one asked for, the best first.
    """

    question: Question
    family: Family
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    unasked: int
    dead: str
    others: tuple[Offer, ...] = ()

    @property
    def is_gone(self) -> bool:
        """Whether what was named is not published: nothing is proposed in its place then."""
        return self.own is not None and self.own.is_gone

    @property
    def own(self) -> Row | None:
        """Return the row of what was named."""
        return next((row for row in self.rows if row.is_own), None)

    @property
    def whole(self) -> int:
        """Count the servers where what was named fits whole."""
        return sum(cell.shown.is_whole for cell in self.own.cells) if self.own else 0

    @property
    def picked(self) -> tuple[Cell, ...]:
        """Return what is proposed."""
        if self.is_gone:
            return ()
        return tuple(cell for row in self.rows for cell in row.cells if cell.is_picked)

    @property
    def offers_any(self) -> bool:
        """Whether anything can be ticked."""
        return not self.is_gone and any(
            cell.may_be_pulled for row in self.rows for cell in row.cells
        )


def read_verdicts(question: Question, *, now: datetime) -> Verdicts:
    """Answer for the lab as it is. Raises ``PlannerError`` with one line."""
    lab, shelf = read_lab(now=now), read_shelf()
    family = read_family(question.name, shelf, look=question.look)
    names = [offer.name for offer in family.offers]
    found = look_up(names) if question.look else remembered(names)
    rooms = read_rooms(lab)
    columns = tuple(_columns(lab, rooms, family))
    told = _told(lab)
    rows = tuple(
        _row(offer, found.get(offer.name), question, family, columns, rooms, told)
        for offer in family.offers
        if is_own(offer, family) or not question.alone
    )
    return Verdicts(
        question=question,
        family=family,
        columns=columns,
        rows=rows if question.alone else marked(rows),
        unasked=sum(name not in found for name in names if can_be_asked(name)),
        dead=dead_reason(names or [question.name]),
        others=_others(family, found),
    )


def _others(family: Family, found: Mapping[str, Published]) -> tuple[Offer, ...]:
    """Return what is published beside what was named: as a registry said, else as was seen."""
    others = [offer for offer in family.offers if not is_own(offer, family)]
    states = {name: told.state for name, told in found.items()}
    there = [offer for offer in others if states.get(offer.name) == "there"]
    seen = (
        offer for offer in others if not offer.variant.guessed and states.get(offer.name) != "gone"
    )
    return tuple(there or seen)


def _told(lab: LabView) -> Stores:
    instances = [each for view in lab.nodes for each in view.node.instances.all()]
    wanted = PullSettings.read()
    cached = read_cached() if wanted.cache else None
    return Stores(
        stores=read_stores(lab),
        copies=read_copies(lab),
        disks=read_disks(instances),
        paces=read_paces(),
        settings=wanted,
        limit_bytes_per_s=limit_now(wanted, now=lab.now),
        has_cache=cached is not None,
        cached=cached or frozenset(),
    )


def _columns(lab: LabView, rooms: Rooms, family: Family) -> Iterable[Column]:
    for view in lab.nodes:
        slug = view.node.slug
        for instance in view.node.instances.all():
            server = server_of(rooms.free[slug], instance)
            rules = rules_of(server) if server else None
            first = family.offers[0].variant if family.offers else None
            yield Column(
                instance=instance,
                view=view,
                kv_type=rules.kv_type if rules else "",
                slots=rules.slots_for(first) if rules and first else 0,
                version=(server.version or "") if server else "",
                is_loaded=rooms.now[slug] is not rooms.free[slug],
                holds=rooms.holds[slug],
                doubt=rooms.doubts[slug],
                now_untold=rooms.untold[slug],
            )


def server_of(node: Node, instance: Instance) -> Server | None:
    """Find a server in a lab's node; one that does not answer is not there."""
    return next((each for each in node.instances if each.name == str(instance)), None)


def _row(  # noqa: PLR0913, PLR0917 - all of what one row follows from
    offer: Offer,
    published: Published | None,
    question: Question,
    family: Family,
    columns: Iterable[Column],
    rooms: Rooms,
    told: Stores,
) -> Row:
    manifest = published.manifest if published else None
    own = is_own(offer, family)
    known = as_published(offer, manifest) if manifest else offer
    cells = []
    for column in columns:
        free, now = (
            _one(column, room, known.variant, question.ctx, rooms)
            if own or question.room == room
            else None
            for room in ROOMS
        )
        shown = now if question.room == "now" else free
        assert shown is not None  # noqa: S101 - what was asked for is always worked out
        cells.append(
            Cell(
                column=column,
                offer=known,
                free=free,
                now=now,
                shown=shown,
                fetch=fetch(known.variant, column.instance, manifest, told),
                is_gone=published is not None and published.state == "gone",
            )
        )
    return Row(offer=known, published=published, is_own=own, cells=tuple(cells))


def _one(column: Column, room: Room, variant: Variant, ctx: int, rooms: Rooms) -> Prospect:
    """Tell what becomes of a load on a server, as if it were free or as it is now."""
    if room == "now" and column.now_untold:
        return Prospect(verdict="unknown", text=column.now_untold)
    slug = column.instance.node.slug
    node = (rooms.now if room == "now" else rooms.free)[slug]
    server = server_of(node, column.instance)
    if server is None:
        return Prospect(verdict="unknown", text="its Ollama does not answer")
    try:
        return prospect(node, server, variant, ctx)
    except PlannerError as error:
        return Prospect(verdict="no", text=str(error))


def marked(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Mark the best of each column, and propose it where nothing as good is there."""
    best = {index: _best(rows, index) for index in range(len(rows[0].cells) if rows else 0)}
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(
                    cell,
                    is_best=row is best[index],
                    is_picked=row is best[index] and _is_wanted(rows, index, row),
                )
                for index, cell in enumerate(row.cells)
            ),
        )
        for row in rows
    )


def _best(rows: tuple[Row, ...], index: int) -> Row | None:
    """Find the best quality that fits whole; of such as nobody could tell apart, the smallest."""
    good = [row for row in rows if row.cells[index].is_good]
    if not good:
        return None
    top = min(row.offer.worth for row in good)
    alike = [row for row in good if row.offer.worth - top <= SAME_QUALITY]
    return min(alike, key=lambda row: row.offer.variant.model.weight_bytes)


def _is_wanted(rows: tuple[Row, ...], index: int, best: Row) -> bool:
    cell = best.cells[index]
    if not cell.may_be_pulled or not cell.column.is_ready:
        return False
    limit = best.offer.worth + SAME_QUALITY
    return not any(row.cells[index].fetch.is_there and row.offer.worth <= limit for row in rows)
