"""The GPUs of a node as the planner takes them: what others hold, what is kept, what is learned."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from labdash.catalog.gpus import find_gpu
from labdash.models import Gpu, GpuSource, NodeKind
from labdash.planner.lab import Card
from labdash.planner.memory.overhead import Overhead
from labdash.planner.placing.inventory import plain
from labdash.queries.bars import GpuView, LoadedView, view_gpus
from labdash.queries.lab import NodeView
from labdash.queries.lab_of_entries import make_of, unseen_bytes
from labdash.queries.plan_marks import owner_of
from workers import wire

# GPU's name, driver, and version of Ollama.
type Learned = Mapping[tuple[str, str, str], Overhead]
# What Ollama's sizes lack of a loaded model, by its node and plain name.
type LeftOut = Mapping[tuple[str, str], int]

NO_SIZE = "its size is not known"
NOBODY_MEASURES = "nobody measures it, so what a driver keeps is counted"
AS_OLLAMA_SAYS = "what its models hold is not measured, but as Ollama reports"


@dataclass(frozen=True, kw_only=True)
class _Sight:
    """What a node tells: how its GPUs look, what is loaded, who its drivers and engines are."""

    view: NodeView
    loaded: Sequence[LoadedView]
    learned: Learned
    left_out: LeftOut
    driver: str
    engines: tuple[str, ...]


def cards_of(
    view: NodeView, loaded: Sequence[LoadedView], learned: Learned, left_out: LeftOut
) -> tuple[Card, ...]:
    """Return the GPUs of a node, those without a driver's word with a doubt."""
    sample = view.sample
    sight = _Sight(
        view=view,
        loaded=loaded,
        learned=learned,
        left_out=left_out,
        driver=(sample.driver.version if sample else None) or "",
        engines=tuple(each.version or "" for each in sample.instances) if sample else (),
    )
    seen = view_gpus(view, loaded)
    held = _held_by_models(seen, loaded)
    return tuple(_card(gpu, held.get(gpu.reading.index, 0), sight) for gpu in seen)


def _card(gpu: GpuView, models_bytes: int, sight: _Sight) -> Card:
    reading, total = gpu.reading, gpu.bar.total_bytes or 0
    row = row_of(reading, sight.view.node.gpus.all())
    name = reading.name or (row.name if row else "") or "GPU of an unknown make"
    facts = find_gpu(name, total or None)
    vendor, speed_class = make_of(name, facts)
    card = Card(
        index=reading.index,
        name=name,
        total_bytes=total,
        reserve_bytes=row.reserve_bytes if row else 0,
        margin_bytes=row.margin_bytes if row else None,
        vendor=vendor,
        sm_count=facts.sm_count if facts else None,
        speed_class=speed_class,
        bandwidth_gbs=facts.bandwidth_gbs if facts else None,
        learned=_learned(name, sight),
    )
    return _owned(_used(card, gpu, models_bytes, sight), row)


def row_of(reading: wire.GpuReading, rows: Iterable[Gpu]) -> Gpu | None:
    """Find the row of a GPU: by its identity, of a declared one by its number."""
    declared = reading.source == "declared"
    return next(
        (
            row
            for row in rows
            if row.uuid == reading.uuid
            or (declared and row.source == GpuSource.DECLARED and row.index == reading.index)
        ),
        None,
    )


def _used(card: Card, gpu: GpuView, models_bytes: int, sight: _Sight) -> Card:
    """Say what others hold of a card, and why that is a guess where it is one."""
    reading = gpu.reading
    if not card.total_bytes:
        return replace(card, doubt=NO_SIZE)
    if reading.state != "ok":
        return replace(card, used_bytes=card.total_bytes, doubt=gpu.untold)
    if gpu.basis != "measured":
        windows = sight.view.node.kind == NodeKind.WINDOWS
        unseen = unseen_bytes(card.total_bytes, card.vendor, windows=windows)
        used = 0 if reading.unified else unseen
        return replace(card, used_bytes=used, doubt=gpu.untold or NOBODY_MEASURES)
    others = sum(part.size_bytes for part in gpu.bar.segments if part.kind in ("other", "reserve"))
    doubt = AS_OLLAMA_SAYS if gpu.is_word or models_bytes else ""
    hidden = sum(sight.left_out.get((sight.view.node.slug, plain(name)), 0) for name in gpu.low)
    return replace(card, used_bytes=max(0, others - models_bytes - hidden), doubt=doubt)


def _owned(card: Card, row: Gpu | None) -> Card:
    """Leave nothing of a card that is given back."""
    owner = owner_of(row)
    return replace(card, reserve_bytes=card.total_bytes, doubt=owner) if owner else card


def _held_by_models(gpus: Sequence[GpuView], loaded: Iterable[LoadedView]) -> Mapping[int, int]:
    """Share out what models hold by Ollama's word over cards whose driver names no processes.

    The driver counts it there among what is in use; how much on which card, nobody tells.
    """
    blind = [gpu for gpu in gpus if gpu.unseen and not gpu.is_word]
    others = {gpu.reading.index: _of_others(gpu) for gpu in blind}
    known, there = sum(each.model.size_vram_bytes or 0 for each in loaded), sum(others.values())
    if not known or not there:
        return {}
    return {index: min(size, known * size // there) for index, size in others.items()}


def _of_others(gpu: GpuView) -> int:
    return sum(part.size_bytes for part in gpu.bar.segments if part.kind == "other")


def _learned(name: str, sight: _Sight) -> Overhead | None:
    """Take what was seen with this card, driver and Ollama."""
    found = (sight.learned.get((name, sight.driver, engine)) for engine in sight.engines)
    return next(filter(None, found), None)
