"""History as charts: what lay in a GPU's memory, stacked, and how its other figures went."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from django.core.cache import cache

from labdash.models import Gpu, Node
from labdash.queries import paths
from labdash.queries.history import Scale, Span, gpu_history, scale_of
from labdash.queries.library import Library
from labdash.queries.measured import METRICS, MODEL, OTHER, Held, Measured, Metric, fold

# The kinds that are no model, from below, and what the charts call them.
UNTOLD = "untold"
RESERVE = "reserve"
LABELS = {OTHER: "other", RESERVE: "driver", UNTOLD: "not told by model"}
TITLES: Mapping[Metric, str] = {
    "memory_used_bytes": "Memory",
    "utilization_percent": "Utilisation",
    "temperature_celsius": "Temperature",
    "power_watts": "Power",
}
# The upper edge of what has no limit that is known: at least this, and in steps of it.
STEP = 100
# A peak is drawn where it stands out from the average by this part of the height.
SEEN = 0.01

type Points = Sequence[Measured | None]
type Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a series comes to: at the end of the chart, on average, and at its highest."""

    newest: float | None
    average: float | None
    highest: float | None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A part of a memory over time. ``shade`` is the class of its colour."""

    label: str
    shade: str
    area: str
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measure over time, as paths. ``top`` is the value at the upper line.

    ``peak`` reaches up from the average, where it can be told from that.
    """

    metric: Metric
    title: str
    average: str
    area: str
    peak: str
    gaps: str
    top: float
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class GpuCharts:
    """What a GPU did over a span: its memory, of which ``layers`` are the parts, and the rest.

    ``memory`` is ``None`` where nothing was known of it, as ``total_bytes`` is.
    """

    label: str
    total_bytes: int | None
    memory: Line | None
    layers: tuple[Layer, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Charts:
    """What the GPUs of a node did over a span."""

    scale: Scale
    gpus: tuple[GpuCharts, ...]


def read_charts(node: Node, library: Library, span: Span, *, now: datetime) -> Charts:
    """Draw the history of a node's GPUs, once for all who look at it at a time."""
    gpus = {gpu.pk: gpu for gpu in node.gpus.all()}
    scale = scale_of(span, gpus, now=now)
    key = f"charts-{node.pk}-{scale.bucket_s}-{int(now.timestamp()) // scale.fresh_s}"
    found: Charts | None = cache.get(key)
    if found is None:
        points = gpu_history(gpus, scale, now=now)
        drawn = tuple(draw(gpu, points[pk], library) for pk, gpu in gpus.items())
        found = Charts(scale=scale, gpus=drawn)
        # What begins to be measured shall not be awaited for longer than needs be.
        if any(gpu.memory or gpu.lines for gpu in drawn):
            cache.set(key, found, 2 * scale.fresh_s)
    return found


def draw(gpu: Gpu, points: Points, library: Library) -> GpuCharts:
    """Draw what was measured of a GPU."""
    lines = [_line(metric, points) for metric in METRICS if metric != "memory_used_bytes"]
    told = [_told(point) for point in points]
    uses = [_use(point) for point in points]
    peaks = [point.peaks[0] if point else None for point in points]
    top = gpu.memory_total_bytes or _highest([*uses, *peaks, *map(_sum, told)])
    return GpuCharts(
        label=f"GPU {gpu.index} · {gpu.name}",
        total_bytes=gpu.memory_total_bytes,
        memory=_drawn("memory_used_bytes", points, uses, peaks, top, base=_reserves(told)),
        layers=tuple(_layers(points, told, top or 1.0, library)),
        lines=tuple(line for line in lines if line),
    )


def _line(metric: Metric, points: Points) -> Line | None:
    column = METRICS.index(metric)
    averages = [point.averages[column] if point else None for point in points]
    peaks = [point.peaks[column] if point else None for point in points]
    top = ceil((_highest(peaks) or 1.0) / STEP) * STEP
    return _drawn(metric, points, averages, peaks, top)


def _drawn(
    metric: Metric,
    points: Points,
    averages: Values,
    peaks: Values,
    top: float | None,
    *,
    base: Sequence[float] | None = None,
) -> Line | None:
    """Draw a measure. ``base`` is what a stack holds beside it, on which its peaks stand."""
    figures = _figures(points, averages, peaks)
    if figures.newest is None or not top:
        return None
    base = base or [0.0] * len(averages)
    apart = [
        (low + (average or 0.0), low + high)
        if high is not None and high - (average or 0.0) > SEEN * top
        else (None, None)
        for high, average, low in zip(peaks, averages, base, strict=True)
    ]
    return Line(
        metric=metric,
        title=TITLES[metric],
        average=paths.line(averages, top),
        area=paths.area([0.0] * len(averages), averages, top),
        peak=paths.area([low for low, _ in apart], [high for _, high in apart], top),
        gaps=paths.gaps([value is not None for value in averages]),
        top=top,
        figures=figures,
    )


def _layers(
    points: Points, told: Sequence[Held | None], top: float, library: Library
) -> Iterator[Layer]:
    """Yield the parts of a memory from below: models, the largest first, then the rest."""
    parts = _folded(told)
    sums = Counter[str]()
    for each in parts:
        sums.update(each or {})
    lower = [0.0] * len(parts)
    for key in sorted(sums, key=lambda key: (_rank(key), -sums[key], key)):
        values = [None if each is None else each.get(key, 0.0) for each in parts]
        upper = [base + (value or 0.0) for base, value in zip(lower, values, strict=True)]
        seen = [edge if value else None for edge, value in zip(upper, values, strict=True)]
        name = key.removeprefix(MODEL)
        yield Layer(
            label=name if key != name else LABELS.get(key, key),
            shade=f"m{library.colour(name)}" if key != name else key,
            area=paths.area(lower, seen, top),
            figures=_figures(points, values, values),
        )
        lower = upper


def _folded(told: Sequence[Held | None]) -> list[Held | None]:
    """Count as other what is a model of little weight in all of them together."""
    sums = Counter[str]()
    for each in told:
        sums.update(each or {})
    kept = fold(sums)
    folded: list[Held | None] = []
    for each in told:
        if each is None or each.keys() <= kept.keys():
            folded.append(each)
            continue
        rest = sum(value for key, value in each.items() if key not in kept)
        own = {key: value for key, value in each.items() if key in kept}
        folded.append({**own, OTHER: own.get(OTHER, 0.0) + rest})
    return folded


def _rank(key: str) -> int:
    kinds = list(LABELS)
    return 0 if key.startswith(MODEL) else 1 + (kinds.index(key) if key in kinds else len(kinds))


def _told(point: Measured | None) -> Held | None:
    """Return what lay in a memory, or how much of it in all where only that is known."""
    if point is None:
        return None
    used = point.averages[0]
    return {UNTOLD: used} if point.held is None and used is not None else point.held


def _use(point: Measured | None) -> float | None:
    """Return the bytes in use as measured, else as the sum of what is told."""
    if point is None:
        return None
    if point.averages[0] is not None or point.held is None:
        return point.averages[0]
    return sum(value for key, value in point.held.items() if key != RESERVE)


def _reserves(told: Sequence[Held | None]) -> list[float]:
    """Return what the driver keeps, which is in the stack and not in what is used."""
    return [(each or {}).get(RESERVE, 0.0) for each in told]


def _sum(held: Held | None) -> float | None:
    return None if held is None else sum(held.values())


def _figures(points: Points, averages: Values, peaks: Values) -> Figures:
    pairs = zip(averages, points, strict=True)
    known = [(value, point.samples) for value, point in pairs if value is not None and point]
    weight = sum(samples for _, samples in known)
    return Figures(
        newest=known[-1][0] if known else None,
        average=sum(value * samples for value, samples in known) / weight if known else None,
        highest=_highest([*peaks, *averages]),
    )


def _highest(values: Values) -> float | None:
    return max((value for value in values if value is not None), default=None)
