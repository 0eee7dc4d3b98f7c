"""Where a model could be loaded: each GPU of the lab, those of a server together, or RAM alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labdash.catalog.engines import Build, build_of_ollama, newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.planner.errors import PlannerError
from labdash.planner.memory.overhead import driver_reserve
from labdash.planner.settings import Gpu
from labdash.queries.bars import GpuView, Segment, loaded_models, view_gpus, view_ram
from labdash.queries.lab import NodeView
from labdash.queries.library import Library
from labdash.queries.margins import USUAL_MARGIN_BYTES, margin_of
from labdash.queries.visible import seen_by
from labdash.wording import age
from workers import wire

# What is free wavers: so much less changes no verdict that anybody would notice.
STEP_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU. ``room_bytes`` is what a model may take of it, ``held`` what else lies in it.

    ``held`` has the margin too that an engine keeps free beside a model.

    ``doubt`` says why the room is a guess, empty where it was measured. ``room_bytes`` is ``None``
    where not even the size is known.
    """

    label: str
    name: str
    total_bytes: int | None
    room_bytes: int | None
    held: tuple[Segment, ...]
    doubt: str
    facts: GpuFacts | None
    unified: bool = False

    @property
    def gpu(self) -> Gpu:
        """Return it as the planner knows a GPU."""
        return Gpu(
            free_bytes=self.room_bytes,
            vendor=self.facts.vendor if self.facts else None,
            sm_count=self.facts.sm_count if self.facts else None,
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """GPUs that one server could use for a model, none for RAM alone.

    ``ram_bytes`` is the free RAM for layers that no GPU holds, ``None`` where it is not known.
    ``key`` names the place in an address. ``ram_gbs`` is what the RAM reads in GB/s at least and at
    most, ``None`` where nobody tells. ``blind`` are the catalog's models that the lab has without
    what reads images.
    """

    key: str
    node: str
    label: str
    cards: tuple[Card, ...]
    ram_bytes: int | None
    build: Build
    ram_gbs: tuple[float, float] | None = None
    blind: frozenset[str] = frozenset()

    @property
    def unified(self) -> bool:
        """Whether the GPU's memory is a part of the RAM."""
        return any(card.unified for card in self.cards)

    @property
    def doubt(self) -> str:
        """Say why what is free here is a guess."""
        return next((card.doubt for card in self.cards if card.doubt), "")


def steady(place: Place) -> Place:
    """Return a place that is equal to itself a second later: so it is reckoned once."""
    cards = tuple(
        replace(card, room_bytes=_floor(card.room_bytes), held=(), doubt="") for card in place.cards
    )
    return replace(place, cards=cards, ram_bytes=_floor(place.ram_bytes))


def _floor(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // STEP_BYTES * STEP_BYTES


def places_of(view: NodeView, library: Library, *, without_models: bool) -> tuple[Place, ...]:
    """Return the places of a node. ``without_models``: as if Ollama had unloaded everything."""
    loaded = loaded_models(view, library)
    gpus = [gpu for gpu in view_gpus(view, loaded) if gpu.reading.state == "ok"]
    cards = {gpu.reading.index: _card(gpu, view, without_models=without_models) for gpu in gpus}
    ram = view_ram(view, loaded)
    free = _free(ram.segments, without_models=without_models) if ram and _is_heard(view) else None
    build = _build(view)
    slug = view.node.slug
    blind = library.blind
    if not cards:
        ram_alone = Place(key=slug, node=slug, label="RAM", cards=(), ram_bytes=free, build=build)
        return (replace(ram_alone, blind=blind),)
    places = [_place(slug, [card], free, build, key=str(i)) for i, card in cards.items()]
    for name, seen in _servers(view):
        joined = [card for index, card in cards.items() if seen is None or index in seen]
        if len(joined) > 1:
            places.append(_place(slug, joined, free, build, key=name))
    found = {tuple(card.label for card in each.cards): each for each in places}
    return tuple(replace(each, blind=blind) for each in found.values())


def what_if_place(facts: GpuFacts, size_gb: float) -> Place:
    """Return a card that nobody has yet: empty, beside RAM of which nothing is known."""
    total = int(size_gb * 2**30)
    card = Card(
        label=facts.name,
        name=facts.name,
        total_bytes=total,
        room_bytes=total - driver_reserve(total, facts.vendor),
        held=_reserve(driver_reserve(total, facts.vendor)),
        doubt="an empty card that is not in the lab",
        facts=facts,
        unified=facts.unified,
    )
    free = with_margin(card, USUAL_MARGIN_BYTES)
    return _place("", [free], None, newest_engine(), key=facts.name)


def _place(slug: str, cards: list[Card], ram: int | None, build: Build, *, key: str) -> Place:
    return Place(
        key=f"{slug}/{key}",
        node=slug,
        label=" + ".join(card.label for card in cards),
        cards=tuple(cards),
        ram_bytes=ram,
        build=build,
    )


def _servers(view: NodeView) -> Iterable[tuple[str, tuple[int, ...] | None]]:
    """Yield the servers of a node with the GPUs that each sees, ``None`` where that is open."""
    for reading in view.sample.instances if view.sample else ():
        seen = seen_by(reading, view.sample.gpus if view.sample else ())
        yield reading.name, seen.gpus if seen else None


def _build(view: NodeView) -> Build:
    """Take the engine of the node's first server that told its version."""
    versions = [each.version for each in view.sample.instances] if view.sample else []
    try:
        return build_of_ollama(next(filter(None, versions)) or "")
    except (StopIteration, PlannerError):
        return newest_engine()


def _is_heard(view: NodeView) -> bool:
    return view.liveness in ("live", "late")


def _card(gpu: GpuView, view: NodeView, *, without_models: bool) -> Card:
    reading, bar = gpu.reading, gpu.bar
    total = bar.total_bytes
    facts = find_gpu(reading.name or "", total)
    doubt = _doubt(gpu, view)
    held = tuple(
        part
        for part in bar.segments
        if part.kind != "free" and not (without_models and part.kind == "model")
    )
    if total is not None and (gpu.basis != "measured" or not _is_heard(view)):
        # Where nobody measures, the driver's own part is not seen either.
        told = held if _is_heard(view) else ()
        held = (*told, *_reserve(driver_reserve(total, facts.vendor if facts else None)))
    room = None if total is None else max(0, total - sum(part.size_bytes for part in held))
    found = Card(
        label=bar.label,
        name=reading.name or "GPU of an unknown make",
        total_bytes=total,
        room_bytes=_measured(reading, gpu, room, held) if not doubt else room,
        held=held,
        doubt=doubt if total is not None else "its size is not known",
        facts=facts,
        unified=reading.unified,
    )
    return with_margin(found, margin_of(view, reading))


def with_margin(card: Card, margin_bytes: int) -> Card:
    """Keep a margin free of what there is."""
    if card.room_bytes is None:
        return card
    size = min(margin_bytes, card.room_bytes)
    part = Segment(kind="margin", label="kept free by the engine", size_bytes=size)
    held = (*card.held, part) if size else card.held
    return replace(card, room_bytes=card.room_bytes - size, held=held)


def _measured(
    reading: wire.GpuReading, gpu: GpuView, room: int | None, held: tuple[Segment, ...]
) -> int | None:
    """Take the driver's own word for what is free where all that lies there was counted."""
    everything = [part for part in gpu.bar.segments if part.kind != "free"]
    is_all = len(everything) == len(held)
    return reading.memory_free_bytes if is_all and reading.memory_free_bytes is not None else room


def _doubt(gpu: GpuView, view: NodeView) -> str:
    if view.age_s is None:
        return "nothing was reported yet: what is free is not known"
    if not _is_heard(view):
        return f"silent for {age(view.age_s)}: what is free is not known"
    if gpu.reading.asleep:
        return "asleep: what is free is not known"
    if gpu.basis == "unknown":
        return "what is free is not known"
    return "as Ollama reports, not measured" if gpu.basis == "ollama" else ""


def _reserve(size_bytes: int) -> tuple[Segment, ...]:
    part = Segment(kind="reserve", label="driver", size_bytes=size_bytes)
    return (part,) if size_bytes else ()


def _free(segments: Iterable[Segment], *, without_models: bool) -> int:
    wanted = {"free", "model"} if without_models else {"free"}
    return sum(part.size_bytes for part in segments if part.kind in wanted)
