"""What fills memory, as segments of a bar: of each GPU, and of the RAM where there is none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from labdash.queries.gpu_rules import readings_of
from labdash.queries.lab import NodeView
from labdash.queries.library import Library, plain_name
from workers import wire

# Less than this is noise of rounding between the driver's sum and its processes.
IGNORED_BYTES = 24 * 2**20
# Half a percent, below which the page would write "0 % on the CPU".
NOTABLE_SHARE = 0.005

type Basis = Literal["measured", "ollama", "unknown"]
type SegmentKind = Literal["model", "demand", "other", "reserve", "margin", "free"]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a memory. The fields after the size are set for models.

    ``demand`` are planned models that load when asked, in turns; ``margin`` is kept free.
    """

    kind: SegmentKind
    label: str
    size_bytes: int
    colour: int | None = None
    quant: str = ""
    context_length: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A memory and what fills it. A size that nobody knows is ``None``.

    ``mark_bytes`` is where its models end by another account, which ``mark_label`` names.
    """

    label: str
    total_bytes: int | None
    used_bytes: int | None
    segments: tuple[Segment, ...]
    mark_bytes: int | None = None
    mark_label: str = ""


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """A GPU and its bar. ``basis`` says who knows what it holds: the driver, Ollama or nobody.

    ``untold`` says why nobody does. ``unseen`` says why the driver's processes tell of no model;
    ``is_word`` that the models are then Ollama's word, in a sum that is measured. ``low`` are those
    of which that word leaves something out. ``owner`` says that the plan leaves it to its owner.
    """

    reading: wire.GpuReading
    basis: Basis
    bar: Bar
    untold: str = ""
    unseen: str = ""
    is_word: bool = False
    low: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What several GPUs hold together.

    Both sums leave out the ``untold`` GPUs whose use nobody knows; where that is all of them,
    ``used_bytes`` is ``None`` and the total is that of all.
    """

    used_bytes: int | None
    total_bytes: int
    untold: int


@dataclass(frozen=True, kw_only=True)
class LoadedView:
    """A model that an instance has in memory. ``cpu_share`` is the part of it outside the GPUs."""

    instance: str
    model: wire.LoadedModel
    name: str
    quant: str
    colour: int
    cpu_share: float | None

    @property
    def is_split(self) -> bool:
        """Whether a part of it worth telling lies outside the GPUs."""
        return self.cpu_share is not None and self.cpu_share >= NOTABLE_SHARE

    def segment(self, size_bytes: int) -> Segment:
        """Return it as a part of a memory of which it holds ``size_bytes``."""
        return Segment(
            kind="model",
            label=self.name,
            size_bytes=size_bytes,
            colour=self.colour,
            quant=self.quant,
            context_length=self.model.context_length,
        )


def loaded_models(view: NodeView, library: Library) -> tuple[LoadedView, ...]:
    """Return what the instances of a node have in memory, GPU or not.

    By name: Ollama tells those that expire in one second in another order each time.
    """
    instances = view.sample.instances if view.sample else ()
    return tuple(
        LoadedView(
            instance=instance.name,
            model=model,
            name=plain_name(model.name),
            quant=library.quant(view.node.slug, model.name),
            colour=library.colour(model.name),
            cpu_share=cpu_share(model),
        )
        for instance in instances
        for model in sorted(instance.loaded or (), key=lambda model: model.name)
    )


def cpu_share(model: wire.LoadedModel) -> float | None:
    """Return the part of a loaded model outside the GPUs, where its server tells."""
    if model.size_vram_bytes is None:
        return None
    if model.size_bytes <= 0:
        return 0.0
    return min(1.0, max(0.0, 1 - model.size_vram_bytes / model.size_bytes))


def view_ram(view: NodeView, loaded: Iterable[LoadedView]) -> Bar | None:
    """Return the RAM of a node with the parts of models that lie in it."""
    host = view.sample.host if view.sample else wire.HostReading()
    total, used = host.ram_total_bytes, host.ram_used_bytes
    if total is None or used is None:
        return None
    parts = [
        each.segment(each.model.size_bytes - (each.model.size_vram_bytes or 0))
        for each in loaded
        if each.is_split
    ]
    # Weights that are mapped from a file may not count as used.
    used = min(total, max(used, sum(part.size_bytes for part in parts)))
    return Bar(label="RAM", total_bytes=total, used_bytes=used, segments=_fill(parts, total, used))


def view_gpus(view: NodeView, loaded: Iterable[LoadedView]) -> tuple[GpuView, ...]:
    """Return the GPUs of a node: as sampled, else as its owner or an earlier sample told them."""
    readings = readings_of(view.sample) if view.sample else _remembered(view)
    models = tuple(loaded)
    sole = len(readings) == 1
    untold, unseen = _why_untold(view, sole=sole), _why_unseen(readings, models)
    return tuple(
        _view_gpu(gpu, models, sole=sole, untold=untold, unseen=unseen) for gpu in readings
    )


def sum_memory(gpus: Iterable[GpuView]) -> Memory:
    """Add up what GPUs hold."""
    bars = [gpu.bar for gpu in gpus]
    known = [bar for bar in bars if bar.used_bytes is not None and bar.total_bytes is not None]
    return Memory(
        used_bytes=sum(bar.used_bytes or 0 for bar in known) if known else None,
        total_bytes=sum(bar.total_bytes or 0 for bar in known or bars),
        untold=len(bars) - len(known),
    )


def _why_untold(view: NodeView, *, sole: bool) -> str:
    """Say why Ollama cannot tell what a GPU holds; nothing where it can."""
    if view.sample is None:
        return "Nothing was reported yet."
    if not sole:
        return "Nobody tells which of these GPUs holds what."
    readings = view.sample.instances
    if not readings:
        return "Nobody tells what this GPU holds: no Ollama server is known here."
    if any(each.state != "ok" for each in readings):
        return "What this GPU holds is not known while Ollama does not answer."
    if any(each.loaded is None for each in readings):
        return "What this GPU holds is not known: Ollama does not tell what is loaded."
    return ""


def _why_unseen(gpus: Iterable[wire.GpuReading], loaded: Iterable[LoadedView]) -> str:
    """Say why no process tells of the models that are loaded; nothing where one does."""
    asked = [gpu for gpu in gpus if gpu.source != "declared" and gpu.state == "ok"]
    processes = [process for gpu in asked for process in gpu.processes or ()]
    if not any(each.model.size_vram_bytes for each in loaded):
        return ""
    if any(process.model and process.used_bytes for process in processes):
        return ""
    if processes and all(process.used_bytes is None for process in processes):
        return "the driver does not tell what each process holds, as on Windows"
    if all(gpu.processes is None for gpu in asked):
        return "the driver tells of no processes"
    return "their processes are not to be seen from here, as out of a container"


def _remembered(view: NodeView) -> tuple[wire.GpuReading, ...]:
    return tuple(
        wire.GpuReading(
            uuid=gpu.uuid or f"declared-{view.node.slug}-{gpu.index}",
            index=gpu.index,
            name=gpu.name,
            source="declared",
            unified=gpu.unified,
            memory_total_bytes=gpu.memory_total_bytes,
        )
        for gpu in view.node.gpus.all()
    )


def _view_gpu(
    gpu: wire.GpuReading, loaded: tuple[LoadedView, ...], *, sole: bool, untold: str, unseen: str
) -> GpuView:
    total, used = gpu.memory_total_bytes, gpu.memory_used_bytes
    is_asked = gpu.state == "ok" and not gpu.asleep
    if not is_asked:
        used, untold, unseen = None, _why_not_asked(gpu), ""
    named, nameless = _by_process(gpu.processes or (), loaded)
    word = _by_ollama(loaded, used, named) if sole and unseen else []
    parts = sorted(named + (word or nameless), key=lambda part: part.kind != "model")
    basis: Basis = "measured" if used is not None else "unknown" if untold else "ollama"
    if basis == "ollama":
        used = sum(part.size_bytes for part in parts)
    segments = _fill(parts, total, used, reserved=gpu.memory_reserved_bytes)
    return GpuView(
        reading=gpu,
        basis=basis,
        untold=untold if basis == "unknown" else "",
        unseen=unseen if basis == "measured" else "",
        is_word=basis == "measured" and bool(word),
        low=tuple(each.name for each in loaded if word and each.model.leaves_out_context),
        bar=Bar(
            label="GPU" if sole and gpu.index == 0 else f"GPU {gpu.index}",
            total_bytes=total,
            used_bytes=used,
            segments=segments if is_asked else (),
        ),
    )


def _why_not_asked(gpu: wire.GpuReading) -> str:
    if gpu.state == "ok":
        return "Asleep: it is not asked what it holds, since that would wake it."
    return gpu.reason or "The driver no longer reports this card."


def _fill(
    parts: list[Segment], total: int | None, used: int | None, *, reserved: int | None = None
) -> tuple[Segment, ...]:
    """Add what is not told by name: others, the driver's reserve, and what is free.

    Where total and use are known, the sum is the total.
    """
    named = sum(part.size_bytes for part in parts)
    filled = list(parts)
    if used is not None and used - named > IGNORED_BYTES:
        filled.append(Segment(kind="other", label="other", size_bytes=used - named))
    if reserved:
        filled.append(Segment(kind="reserve", label="driver", size_bytes=reserved))
    if total is not None:
        filled = _cut(filled, total)
    if total is not None and used is not None:
        free = total - sum(part.size_bytes for part in filled)
        filled.append(Segment(kind="free", label="free", size_bytes=free))
    return tuple(filled)


def _cut(parts: list[Segment], total: int) -> list[Segment]:
    """Leave what has room: what two processes share may be counted in both."""
    starts = accumulate((part.size_bytes for part in parts), initial=0)
    rooms = [max(0, total - start) for start in starts]
    cut = [
        replace(part, size_bytes=min(part.size_bytes, room))
        for part, room in zip(parts, rooms, strict=False)
    ]
    return [part for part in cut if part.size_bytes]


def _by_ollama(
    loaded: Iterable[LoadedView], used: int | None, named: list[Segment]
) -> list[Segment]:
    parts = [each.segment(each.model.size_vram_bytes or 0) for each in loaded]
    parts = [part for part in parts if part.size_bytes > 0]
    # Ollama's figures are estimates: where the driver counts less, the driver is right.
    held = sum(part.size_bytes for part in [*parts, *named])
    return parts if used is None or held <= used else []


def _by_process(
    processes: Iterable[wire.GpuProcess], loaded: Iterable[LoadedView]
) -> tuple[list[Segment], list[Segment]]:
    """Return what has a name, and what does not: another user's or another container's."""
    known = {each.name: each for each in loaded}
    models: Counter[str] = Counter()
    others: Counter[str] = Counter()
    nameless: Counter[str] = Counter()
    for process in processes:
        name = plain_name(process.model or "")
        if name in known:
            models[name] += process.used_bytes or 0
        elif name or process.name:
            others[name or process.name or ""] += process.used_bytes or 0
        else:
            nameless[f"process {process.pid}"] += process.used_bytes or 0
    measured = [known[name].segment(size) for name, size in (+models).most_common()]
    return measured + _others(others), _others(nameless)


def _others(sizes: Counter[str]) -> list[Segment]:
    return [
        Segment(kind="other", label=label, size_bytes=size)
        for label, size in (+sizes).most_common()
    ]
