"""What fills a GPU, as segments of its bar."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from labdash.queries.lab import NodeView
from labdash.queries.library import Library, plain_name
from workers import wire

# Less than this is noise of rounding between the driver's sum and its processes.
IGNORED_BYTES = 24 * 2**20
# Half a percent, below which the page would write "0 % on the CPU".
NOTABLE_SHARE = 0.005

type Basis = Literal["measured", "ollama", "unknown"]
type SegmentKind = Literal["model", "other", "reserve", "free"]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a GPU's memory. ``colour`` is set for models."""

    kind: SegmentKind
    label: str
    size_bytes: int
    colour: int | None = None
    quant: str = ""


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """A GPU and its bar. ``basis`` says who knows what it holds: the driver, Ollama or nobody."""

    reading: wire.GpuReading
    label: str
    basis: Basis
    total_bytes: int | None
    used_bytes: int | None
    segments: tuple[Segment, ...]

    @property
    def free_bytes(self) -> int | None:
        """What is left for models."""
        return next((s.size_bytes for s in self.segments if s.kind == "free"), None)


@dataclass(frozen=True, kw_only=True)
class LoadedView:
    """A model that an instance has in memory. ``cpu_share`` is the part of it outside the GPUs."""

    instance: str
    model: wire.LoadedModel
    name: str
    quant: str
    colour: int
    cpu_share: float

    @property
    def is_split(self) -> bool:
        """Whether a part of it worth telling lies outside the GPUs."""
        return self.cpu_share >= NOTABLE_SHARE


def view_gpus(view: NodeView, library: Library) -> tuple[GpuView, ...]:
    """Return the GPUs of a node: as sampled, else as its owner or an earlier sample told them."""
    readings = view.sample.gpus if view.sample else _remembered(view)
    loaded = loaded_models(view, library) if len(readings) == 1 else ()
    asked = len(readings) == 1 and view.sample is not None
    return tuple(
        _view_gpu(gpu, _held(gpu, loaded, library), sole=len(readings) == 1, asked=asked)
        for gpu in readings
    )


def loaded_models(view: NodeView, library: Library) -> tuple[LoadedView, ...]:
    """Return what the instances of a node have in memory, GPU or not."""
    instances = view.sample.instances if view.sample else ()
    return tuple(
        LoadedView(
            instance=instance.name,
            model=model,
            name=plain_name(model.name),
            quant=library.quant(model.name),
            colour=library.colour(model.name),
            cpu_share=_cpu_share(model),
        )
        for instance in instances
        for model in instance.loaded or ()
    )


def _cpu_share(model: wire.LoadedModel) -> float:
    if model.size_bytes <= 0:
        return 0.0
    return min(1.0, max(0.0, 1 - model.size_vram_bytes / model.size_bytes))


def _remembered(view: NodeView) -> tuple[wire.GpuReading, ...]:
    return tuple(
        wire.GpuReading(
            uuid=gpu.uuid,
            index=gpu.index,
            name=gpu.name,
            source="declared",
            unified=gpu.unified,
            memory_total_bytes=gpu.memory_total_bytes,
        )
        for gpu in view.node.gpus.all()
    )


def _view_gpu(gpu: wire.GpuReading, held: list[Segment], *, sole: bool, asked: bool) -> GpuView:
    total, used = gpu.memory_total_bytes, gpu.memory_used_bytes
    models_bytes = sum(segment.size_bytes for segment in held)
    basis: Basis = "measured" if used is not None else "ollama" if asked else "unknown"
    if basis == "ollama":
        used = models_bytes
    if used is not None and used - models_bytes > IGNORED_BYTES:
        held.append(Segment(kind="other", label="other", size_bytes=used - models_bytes))
    if gpu.memory_reserved_bytes:
        size = gpu.memory_reserved_bytes
        held.append(Segment(kind="reserve", label="driver", size_bytes=size))
    if total is not None and used is not None:
        free = max(0, total - sum(segment.size_bytes for segment in held))
        held.append(Segment(kind="free", label="free", size_bytes=free))
    return GpuView(
        reading=gpu,
        label="GPU" if sole and gpu.index == 0 else f"GPU {gpu.index}",
        basis=basis,
        total_bytes=total,
        used_bytes=used,
        segments=tuple(held) if gpu.state == "ok" else (),
    )


def _held(gpu: wire.GpuReading, loaded: tuple[LoadedView, ...], library: Library) -> list[Segment]:
    """Tell who holds memory: by the driver's list of processes, else by Ollama's own figures."""
    if gpu.processes:
        return _by_process(gpu.processes, library)
    limit = gpu.memory_used_bytes
    segments = [_model(each.model.name, each.model.size_vram_bytes, library) for each in loaded]
    whole = sum(segment.size_bytes for segment in segments)
    # Ollama's figures are estimates: where the driver counts less, the driver is right.
    return segments if limit is None or whole <= limit else []


def _by_process(processes: tuple[wire.GpuProcess, ...], library: Library) -> list[Segment]:
    models: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for process in processes:
        if process.used_bytes and process.model:
            models[process.model] += process.used_bytes
        elif process.used_bytes:
            others[process.name or f"process {process.pid}"] += process.used_bytes
    segments = [_model(name, size, library) for name, size in models.most_common()]
    for name, size in others.most_common():
        segments.append(Segment(kind="other", label=name, size_bytes=size))
    return segments


def _model(name: str, size_bytes: int, library: Library) -> Segment:
    return Segment(
        kind="model",
        label=plain_name(name),
        size_bytes=size_bytes,
        colour=library.colour(name),
        quant=library.quant(name),
    )
