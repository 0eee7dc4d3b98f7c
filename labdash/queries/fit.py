"""Will it fit? One model on every GPU and node of the lab, as it is now."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

from django.core.cache import cache

from labdash.planner.errors import PlannerError
from labdash.planner.speed import Speed
from labdash.queries.bars import Bar, Segment
from labdash.queries.fit_described import Described, describe
from labdash.queries.fit_files import pack_model, unpack
from labdash.queries.fit_loads import RAM_GBS, Fit, Load, Verdict, fit, is_slow
from labdash.queries.fit_models import Chosen, choose
from labdash.queries.fit_places import Card, Place, places_of
from labdash.queries.fit_table import Table, make_table
from labdash.queries.lab import LabView, read_lab
from labdash.queries.library import Library, read_library
from labdash.queries.registries import ollama_registry
from labdash.sources.registry import open_remote

# The colours of a model's parts, by their number in the style sheet.
PARTS = (
    ("weights", 1), ("KV cache", 2), ("compute", 3), ("overhead", 4), ("reads images", 5),
)  # fmt: skip
RECKONED = ", about"
PUBLISHED_KEPT_S = 3600
ORDER = ("whole", "part", "unknown", "no")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a page asks. ``facts`` are those of a file, ``name`` a model's name otherwise.

    ``at`` is the key of the place that the table shows; ``card`` describes hardware to try.
    ``far``: a model that is not known here is looked for where it is published.
    """

    name: str = ""
    facts: str = ""
    quant: str = ""
    load: Load = field(default_factory=Load)
    without_models: bool = False
    at: str = ""
    card: str = ""
    far: bool = False


@dataclass(frozen=True, kw_only=True)
class PlaceFit:
    """A place with what became of the model there. ``refusal`` where its engine would not load it.

    ``bars`` has one for each GPU, or one of the RAM; ``is_best`` marks the best of its node.
    """

    place: Place
    fit: Fit | None
    bars: tuple[Bar, ...]
    refusal: str = ""
    is_best: bool = False

    @property
    def used_bytes(self) -> int:
        """Tell what the parts take together."""
        return sum(part.size_bytes for part in self.parts if part.kind == "model")

    @property
    def is_slow(self) -> bool:
        """Whether it answers slower than one reads."""
        return self.fit is not None and is_slow(self.fit.speed)

    @property
    def slow_ram_gbs(self) -> tuple[float, float] | None:
        """Return how fast RAM is taken to be where it takes part and nobody tells."""
        if self.fit is None or self.place.unified:
            return None
        takes_part = self.fit.verdict == "part" or not self.place.cards
        return (self.place.ram_gbs or RAM_GBS) if takes_part else None

    @property
    def parts(self) -> tuple[Segment, ...]:
        """Sum up what fills the bars, by name."""
        found: dict[tuple[str, str], Segment] = {}
        for part in (part for bar in self.bars for part in bar.segments):
            before = found.get((part.kind, part.label))
            size = part.size_bytes + (before.size_bytes if before else 0)
            found[part.kind, part.label] = replace(part, size_bytes=size)
        return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class NodeFit:
    """The places of a node."""

    slug: str
    places: tuple[PlaceFit, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The model and how it does on each node. ``table`` is of one place, ``None`` without any.

    ``described`` is what became of it on the hardware that was described, ``notes`` what was taken
    for granted there, and ``not_known`` says what to write where the description was not
    understood. ``images_bytes`` is what reads images, with room for the largest. ``is_at_gone``:
    the table's place was asked for, and is not there any more.
    """

    chosen: Chosen
    nodes: tuple[NodeFit, ...]
    table: Table | None
    images_bytes: int
    shown: PlaceFit | None
    described: PlaceFit | None = None
    notes: tuple[str, ...] = ()
    not_known: str = ""
    is_at_gone: bool = False

    @property
    def tried(self) -> int:
        """Count the places."""
        return sum(len(node.places) for node in self.nodes)

    @property
    def whole(self) -> int:
        """Count the places where it fits whole."""
        return self._count("whole")

    @property
    def part(self) -> int:
        """Count the places where some layers are on the CPU."""
        return self._count("part")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is to be said of the estimates."""
        return self.shown.fit.estimate.warnings if self.shown and self.shown.fit else ()

    def _count(self, verdict: Verdict) -> int:
        return sum(
            each.fit is not None and each.fit.verdict == verdict
            for node in self.nodes
            for each in node.places
        )


def read_fit(asked: Asked, *, now: datetime) -> Answer:
    """Answer for the lab as it is now. Raises ``PlannerError`` with one line for bad input."""
    chosen = find_chosen(asked)
    return answer(asked, chosen, read_lab(now=now), read_library())


def find_chosen(asked: Asked) -> Chosen:
    """Find the model that was asked for. Raises ``PlannerError``."""
    found = unpack(asked.facts) if asked.facts else None
    if found is None or asked.name not in ("", found.model.name):
        try:
            return choose(asked.name, asked.quant)
        except PlannerError:
            if not asked.far or not asked.name:
                raise
            found = unpack(published(asked.name))
    if not asked.quant or asked.quant == found.model.quant:
        return found
    return replace(
        found,
        model=found.at(asked.quant),
        basis=f"by the tensors of {found.model.name} and the rules of llama-quantize",
    )


def published(name: str) -> str:
    """Read the facts of a model from Ollama's library or Hugging Face. Raises ``PlannerError``.

    They are kept for a while: each move of a slider asks again.
    """
    facts = kept_facts(name)
    if facts is None:
        found = open_remote(name, ollama=ollama_registry())
        facts = pack_model(found.model, found.warnings, projector_bytes=found.projector_bytes)
        cache.set(_key(name), facts, PUBLISHED_KEPT_S)
    return facts


def kept_facts(name: str) -> str | None:
    """Return the facts of a model that was read from where it is published lately."""
    facts: str | None = cache.get(_key(name))
    return facts


def _key(name: str) -> str:
    return f"published:{sha256(name.encode()).hexdigest()}"


def answer(asked: Asked, chosen: Chosen, lab: LabView, library: Library) -> Answer:
    """Try the model everywhere. Raises ``PlannerError`` where the engine would refuse the load."""
    load = asked.load.seeing(chosen.model, chosen.projector_bytes)
    nodes = []
    for view in lab.nodes:
        places = places_of(view, library, without_models=asked.without_models)
        nodes.append(_node(view.node.slug, places, chosen, load))
    thought, not_known = read_described(asked.card)
    described = _try(thought.place, chosen, load) if thought else None
    found = [*([described] if described else ()), *(each for node in nodes for each in node.places)]
    _refuse_what_all_refuse(found)
    shown = _shown(asked, found, described)
    table = make_table(chosen, shown.place, load, shown.fit) if shown and shown.fit else None
    return Answer(
        chosen=chosen,
        nodes=tuple(nodes),
        table=table,
        images_bytes=load.images_bytes,
        shown=shown,
        described=described,
        notes=thought.notes if thought else (),
        not_known=not_known,
        is_at_gone=bool(asked.at) and all(each.place.key != asked.at for each in found),
    )


def read_described(card: str) -> tuple[Described | None, str]:
    """Understand a description of hardware, or return the line that says what to write."""
    try:
        return (describe(card), "") if card else (None, "")
    except PlannerError as error:
        return None, str(error)


def _shown(asked: Asked, found: list[PlaceFit], described: PlaceFit | None) -> PlaceFit | None:
    """Choose the place of the table: the one asked for, what was described, else the best."""
    tried = [each for each in found if each.fit]
    wanted = next((each for each in tried if each.place.key == asked.at), None)
    if wanted is None and described is not None and described.fit:
        return described
    return wanted or min(tried, key=_rank, default=None)


def _refuse_what_all_refuse(found: list[PlaceFit]) -> None:
    if found and all(each.refusal for each in found):
        raise PlannerError(found[0].refusal)


def _node(slug: str, places: Iterable[Place], chosen: Chosen, load: Load) -> NodeFit:
    tried = [_try(place, chosen, load) for place in places]
    best = min((each for each in tried if each.fit), key=_rank, default=None)
    marked = tuple(replace(each, is_best=each is best and len(tried) > 1) for each in tried)
    return NodeFit(slug=slug, places=marked)


def _try(place: Place, chosen: Chosen, load: Load) -> PlaceFit:
    try:
        found = fit(chosen.model, place, load)
    except PlannerError as error:
        return PlaceFit(place=place, fit=None, bars=(), refusal=str(error))
    about = RECKONED if chosen.is_projector_reckoned else ""
    bars = [_bar(card, found, index, about) for index, card in enumerate(place.cards)]
    return PlaceFit(place=place, fit=found, bars=tuple(bars) or _ram_bar(place, found, about))


def _rank(each: PlaceFit) -> tuple[int, int, float, int, int]:
    """Put what fits whole first, then what is fast, takes fewer GPUs, and has a long context."""
    found = each.fit
    if found is None:
        return len(ORDER), 0, 0.0, 0, 0
    on_gpu = found.layers / found.all_layers
    return (
        ORDER.index(found.verdict),
        0 if each.place.cards else 1,
        -round(_fast(found.speed)) if found.verdict == "whole" else -on_gpu,
        len(each.place.cards),
        -(found.most_context or 0),
    )


def _fast(speed: Speed | None) -> float:
    return speed.low if speed else 0.0


def _bar(card: Card, found: Fit, index: int, about: str) -> Bar:
    """Draw a GPU: what the model takes, what others hold, what is left."""
    use = found.used[index]
    sizes = (use.weights_bytes, use.kv_bytes, use.compute_bytes, use.overhead_bytes)
    held = [_as_other(part) for part in card.held]
    parts = [*_model_parts((*sizes, use.images_bytes), about), *held]
    return _filled(card.label, card.total_bytes, parts)


def _as_other(part: Segment) -> Segment:
    """Draw another model as what it is here: something that is in the way."""
    if part.kind != "model":
        return part
    return Segment(kind="other", label=part.label, size_bytes=part.size_bytes)


def _model_parts(sizes: Iterable[int], about: str) -> list[Segment]:
    """Name the parts; ``about`` is said of the last, whose size may be reckoned."""
    names = [*PARTS[:-1], (f"{PARTS[-1][0]}{about}", PARTS[-1][1])]
    return [
        Segment(kind="model", label=label, size_bytes=size, colour=colour)
        for (label, colour), size in zip(names, sizes, strict=True)
        if size
    ]


def _filled(label: str, total: int | None, parts: list[Segment]) -> Bar:
    used = sum(part.size_bytes for part in parts)
    if total is not None and used < total:
        parts = [*parts, Segment(kind="free", label="free", size_bytes=total - used)]
    return Bar(label=label, total_bytes=total, used_bytes=used, segments=tuple(parts))


def _ram_bar(place: Place, found: Fit, about: str) -> tuple[Bar, ...]:
    host = found.estimate.host
    sizes = (host.weights_bytes, host.kv_bytes, host.compute_bytes, host.output_bytes)
    parts = _model_parts((*sizes, host.images_bytes), about)
    return (_filled("RAM", place.ram_bytes, parts),)
