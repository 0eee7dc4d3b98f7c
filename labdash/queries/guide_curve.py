"""Reduce context before quant: what each quant takes as the context grows, and where it ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

from labdash.catalog.own import kept
from labdash.planner.lab import Variant
from labdash.planner.memory.estimate import estimate
from labdash.queries.fit_places import Place
from labdash.queries.fit_table import contexts_of
from labdash.queries.guide_cells import (
    SIZES,
    best_cell,
    cell_at,
    fits_whole,
    load_of,
    quants_for,
    variant_at,
)
from labdash.queries.guide_places import room_of, usual_places
from labdash.wording import GIB

MOST_LINES = 4
# At this context a machine has to run a model well for it to be the example.
USUAL_CONTEXT = 8192
# Few people need more.
MOST_USUAL = 16_384
# What an own entry says that it was trained with may be less; a drawing has four contexts.
FEWEST = 8
USUAL_MODEL = "qwen3:8b"
# No mixtures of experts: most of what people run is dense. The largest first.
DENSE = ("llama3.3:70b", "qwen3:32b", "qwen3:14b", "qwen3:8b", "qwen3:4b", "llama3.2:1b")
# Nobody is asked to do with less context than this.
LEAST_CONTEXT = 4096
# Looked at where context decides nothing on any of the reader's machines.
USUAL_PLACE = "rtx-3060"
# The drawing: its height is in pixels, its width is stretched.
WIDTH, HEIGHT = 600, 230
# Between two contexts memory grows in a line, which is bent where an axis is a logarithm.
BENDS = 4
# Ticks of the memory, in GiB; nearer to the room's own line than this one is left out.
TICK_GIB = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
MOST_TICKS = 6
NEAR_ROOM = 14
# How much of what is above the room is shown, as a share of what is below.
ABOVE = 0.45
# How far from a mark its words stand, in pixels.
WORDS_ABOVE, WORDS_BELOW = 10, 20
NAME_HEIGHT = 12
# So near an end of the axis a mark's words begin or end at it.
EDGE_PERCENT = 5


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line of an axis: what it stands for, and where, in percent across or in pixels down."""

    value: int
    at: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a line meets the room, and how far down its words stand."""

    x_percent: float
    y: float
    words_y: float

    @property
    def anchor(self) -> str:
        """Tell which part of the words is at the mark."""
        if self.x_percent < EDGE_PERCENT:
            return "start"
        return "end" if self.x_percent > 100 - EDGE_PERCENT else "middle"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A quant. ``most_context`` is the longest at which it fits whole, 0 for none.

    ``line`` is all of it, ``name_y`` where its name stands if there is room for it, ``inside`` the
    part that fits, ``mark`` where that ends within the drawing. ``plan_context`` is what to plan it
    with.
    """

    variant: Variant
    most_context: int
    plan_context: int
    line: str
    name_y: float | None
    inside: str
    mark: Mark | None
    colour: int


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A context of which half buys a better quant. ``worse`` is None where nothing fitted whole.

    ``saved_bytes`` is what the half saves, ``stepped_bytes`` what the worse quant would have.
    """

    context: int
    worse: Variant | None
    half: int
    better: Variant
    saved_bytes: int
    stepped_bytes: int

    @property
    def saves_most(self) -> bool:
        """Whether the half of the context saves as much as the worse quant or more."""
        return self.saved_bytes >= self.stepped_bytes


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Memory by context for each quant of a model on a place.

    ``room_bytes`` is all there is, None where that is not known.
    """

    place: Place
    model: str
    contexts: tuple[int, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    room_bytes: int | None
    room_y: float | None
    steps: tuple[Step, ...]
    lesson: Lesson | None

    @property
    def least_context(self) -> int:
        """Return the context below which no lesson is drawn."""
        return LEAST_CONTEXT

    @property
    def ends(self) -> int:
        """Return the longest context that is drawn."""
        return self.contexts[-1]

    @property
    def all_fit(self) -> bool:
        """Whether even the largest file fits at any context."""
        return self.steps[0].most_context >= self.ends // 1024 * 1024

    @property
    def none_fits(self) -> bool:
        """Whether not even the smallest file fits at the least context."""
        return self.steps[-1].most_context < self.contexts[0]


def choose(own: Sequence[Place], place: Place | None, name: str) -> tuple[Place, str]:
    """Return what to draw, and where nobody chose, where it teaches most.

    The reader's own machines come before a usual card; on each the model counts whose quant
    hangs most on the context. What was chosen is kept.
    """
    if place and name:
        return place, name
    usual = {each.key: each for each in usual_places()}
    for each in (place,) if place else (*own, usual[USUAL_PLACE]):
        if best := _telling(each, _names(each, name)) or (place and _telling(each, DENSE)):
            return each, best
    found = place or max(own, key=room_of, default=usual[USUAL_PLACE])
    return found, name or advised(found)


def _telling(place: Place, names: Iterable[str]) -> str:
    """Return the first of the models whose quant hangs most on the context, if it does at all."""
    best = max(names, key=lambda name: _changes(name, place), default="")
    return best if best and any(_changes(best, place)) else ""


def advised(place: Place) -> str:
    """Return the largest dense model that runs well on a place."""
    return next(iter(_names(place, "")), USUAL_MODEL)


def _names(place: Place, name: str) -> tuple[str, ...]:
    """Return the dense models that run well, the largest first, or the one that was chosen."""
    if name:
        return (name,)
    cells = [best_cell(each, place, USUAL_CONTEXT) for each in reversed(SIZES)]
    return tuple(each.model for each in cells if each.is_good and each.model in DENSE)


@kept(512)
def _changes(name: str, place: Place) -> tuple[int, int]:
    """Count how often a longer context takes another quant: of usual ones first, then of all.

    Raises ``PlannerError`` for an unknown model.
    """
    variants = _variants(name)
    contexts = _contexts(variants[0])
    if _best(name, place, contexts[-1]) == variants[0]:
        return 0, 0
    best = [(each, _best(name, place, each)) for each in contexts]
    pairs = [pair for pair in pairwise(best) if pair[0][0] >= LEAST_CONTEXT]
    changes = [longer for (_, a), (longer, b) in pairs if a != b and b is not None]
    return sum(each <= MOST_USUAL for each in changes), len(changes)


@kept(4096)
def _best(name: str, place: Place, context: int) -> Variant | None:
    """Return the best quant that fits whole."""
    fitting = (
        each
        for each in _variants(name)
        if fits_whole(each.model, place, load_of(each, context, place))
    )
    return next(fitting, None)


def _variants(name: str) -> tuple[Variant, ...]:
    return tuple(variant_at(name, quant) for quant in quants_for(name)[:MOST_LINES])


def _contexts(variant: Variant) -> tuple[int, ...]:
    """Return the contexts to draw: each twice the one before, and all that was trained."""
    trained = variant.model.shape.ctx_train or USUAL_CONTEXT
    usual = contexts_of(variant.model, min(USUAL_CONTEXT, trained))
    halves = {max(trained, FEWEST) >> n for n in range(4)}
    return tuple(sorted({*usual, trained} if len(usual) > 1 else halves))


@kept(128)
def curve(place: Place, name: str) -> Curve:
    """Tell how memory grows with the context. Raises ``PlannerError`` for an unknown model."""
    variants = _variants(name)
    contexts = _contexts(variants[0])
    used = [tuple(_used(place, each, context) for context in contexts) for each in variants]
    room = _room(place)
    plot = _Plot(contexts=contexts, **_range(used, room))
    steps = tuple(_steps(place, name, variants, used, plot))
    return Curve(
        place=place,
        model=name,
        contexts=contexts,
        across=_across(plot),
        up=_up(plot, room),
        room_bytes=room,
        room_y=None if room is None else plot.y(room),
        steps=steps,
        lesson=None if room is None else _lesson(place, name, contexts),
    )


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """Where a context and a size are on the drawing."""

    contexts: tuple[int, ...]
    low: float
    high: float

    def x(self, context: float) -> float:
        """Return the share of the width: each halving is as wide."""
        first, last = self.contexts[0], self.contexts[-1]
        return log2(context / first) / log2(last / first)

    def y(self, size: float) -> float:
        """Return the pixels from the top."""
        return round(HEIGHT * (self.high - size) / (self.high - self.low), 1)


def _range(used: Sequence[Sequence[int]], room: int | None) -> dict[str, float]:
    """Choose what of the memory to show: where every line begins, and around the room."""
    low, high = min(map(min, used)), max(map(max, used))
    if room is not None:
        begin = max(sizes[0] for sizes in used)
        low = min(low, room)
        high = max(room, begin, min(high, room + round(ABOVE * (room - low))))
    step = _tick_bytes(low, high)
    return {"low": low // step * step, "high": high + 0.06 * (high - low) + 1}


def _tick_bytes(low: float, high: float) -> int:
    fitting = (gib for gib in TICK_GIB if (high - low) / (gib * GIB) <= MOST_TICKS - 1)
    return round(next(fitting, TICK_GIB[-1]) * GIB)


def _across(plot: _Plot) -> tuple[Tick, ...]:
    return tuple(
        Tick(value=each, at=round(100 * plot.x(each), 1))
        for each in plot.contexts
        if each == plot.contexts[0] or plot.x(each) < 1
    )


def _up(plot: _Plot, room: int | None) -> tuple[Tick, ...]:
    step = _tick_bytes(plot.low, plot.high)
    sizes = range(int(plot.low), int(plot.high), step)
    ticks = (Tick(value=size, at=plot.y(size)) for size in sizes)
    return tuple(each for each in ticks if room is None or abs(each.at - plot.y(room)) > NEAR_ROOM)


def _steps(
    place: Place,
    name: str,
    variants: Sequence[Variant],
    used: Sequence[tuple[int, ...]],
    plot: _Plot,
) -> Iterable[Step]:
    above, named_y = True, -float(NAME_HEIGHT)
    for index, (variant, sizes) in enumerate(zip(variants, used, strict=True)):
        most = cell_at(name, variant.quant, place, plot.contexts[0]).most_context or 0
        mark = _mark(plot, sizes, most, above=above)
        # Neighbours write on either side of the line.
        above = above != bool(mark)
        begin_y = plot.y(sizes[0])
        has_room = begin_y - named_y >= NAME_HEIGHT
        named_y = begin_y if has_room else named_y
        yield Step(
            variant=variant,
            most_context=most,
            plan_context=max((each for each in plot.contexts if each <= most), default=0),
            line=_line(plot, sizes, plot.contexts[-1]),
            name_y=begin_y if has_room else None,
            inside=_line(plot, sizes, most) if most >= plot.contexts[0] else "",
            mark=mark,
            colour=index + 1,
        )


def _mark(plot: _Plot, sizes: Sequence[int], most: int, *, above: bool) -> Mark | None:
    if not plot.contexts[0] <= most < plot.contexts[-1] // 1024 * 1024:
        return None
    y = plot.y(_between(plot.contexts, sizes, most))
    x = round(100 * plot.x(most), 1)
    return Mark(x_percent=x, y=y, words_y=y - WORDS_ABOVE if above else y + WORDS_BELOW)


def _line(plot: _Plot, sizes: Sequence[int], end: int) -> str:
    """Draw a line up to a context."""
    bent = [
        first + (second - first) * bend / BENDS
        for first, second in pairwise(plot.contexts)
        for bend in range(BENDS)
    ]
    contexts = [*(each for each in bent if each < end), min(end, plot.contexts[-1])]
    points = (
        f"{plot.x(each) * WIDTH:.1f},{plot.y(_between(plot.contexts, sizes, each))}"
        for each in contexts
    )
    return "M" + "L".join(points)


def _between(contexts: Sequence[int], sizes: Sequence[int], context: float) -> float:
    """Tell what is taken at a context between those that were tried."""
    pairs = list(pairwise(zip(contexts, sizes, strict=True)))
    (first, low), (second, high) = next(
        (pair for pair in pairs if context <= pair[1][0]), pairs[-1]
    )
    return low + (high - low) * (context - first) / (second - first)


def _lesson(place: Place, name: str, contexts: Sequence[int]) -> Lesson | None:
    """Find a context of which half buys a better quant, a usual one before others."""
    halves = [(each, each // 2) for each in contexts if each // 2 in contexts]
    halves = [pair for pair in halves if pair[1] >= LEAST_CONTEXT]
    found = [pair for pair in halves if _best(name, place, pair[1]) != _best(name, place, pair[0])]
    if not found:
        return None
    known = [pair for pair in found if _best(name, place, pair[0]) is not None]
    context, half = min(known or found, key=lambda pair: abs(log2(pair[1] / USUAL_CONTEXT)))
    worse, better = _best(name, place, context), _best(name, place, half)
    assert better is not None  # noqa: S101 - what fits at a context fits at half of it
    whole = _used(place, better, context)
    return Lesson(
        context=context,
        worse=worse,
        half=half,
        better=better,
        saved_bytes=whole - _used(place, better, half),
        stepped_bytes=whole - _used(place, worse, context) if worse else 0,
    )


def _used(place: Place, variant: Variant, context: int) -> int:
    found = estimate(variant.model, load_of(variant, context, place).on(place))
    if not place.cards:
        return found.host.total_bytes
    return sum(device.total_bytes for device in found.devices)


def _room(place: Place) -> int | None:
    rooms = [card.room_bytes for card in place.cards] or [place.ram_bytes]
    known = [each for each in rooms if each is not None]
    return sum(known) if len(known) == len(rooms) else None
