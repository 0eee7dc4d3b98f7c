"""How GPUs did over an hour, a day, a month or a year, in few points that a chart can draw."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from django.core.cache import cache

from labdash.models import Gpu, GpuPeriod, GpuSample, Tier
from labdash.queries.measured import METRICS, Measured, by_period, by_slot

type Span = Literal["1h", "24h", "30d", "1y"]
type Series = tuple[float | None, ...]
type Moments = list[tuple[int, Measured]]

PEAKS = (
    "memory_peak_bytes",
    "utilization_peak_percent",
    "temperature_peak_celsius",
    "power_peak_watts",
)
# Samples wait for so long to be stored, several at once; and for so long, to be rolled up.
STORED_AFTER_S = 5
ROLLED_UP_AFTER_S = 180
SPARK_BUCKETS = 60
SPARK_KEPT_S = 120


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How far back a chart looks, how wide one of its points is, and what it is drawn from.

    ``tier`` is ``None`` for samples. ``fresh_s`` is for how long a chart is not drawn anew.
    ``ticks`` are the words under its axis.
    """

    label: str
    tab: str
    bucket_s: int
    buckets: int
    tier: Tier | None
    fresh_s: int
    ticks: tuple[str, ...]

    def first_bucket(self, now: datetime) -> int:
        """Return the number, since 1970, of the first of its buckets.

        The last is the newest that is full, or that fills for ``fresh_s``.
        """
        end_s = (int(now.timestamp()) - STORED_AFTER_S) // self.fresh_s * self.fresh_s
        return (end_s - 1) // self.bucket_s + 1 - self.buckets


SCALES: Mapping[Span, Scale] = {
    "1h": Scale(
        label="1 hour",
        tab="1 h",
        bucket_s=60,
        buckets=60,
        tier=Tier.MINUTE,
        fresh_s=20,
        ticks=("1 h ago", "45 min", "30 min", "15 min", "now"),
    ),
    "24h": Scale(
        label="24 hours",
        tab="24 h",
        bucket_s=600,
        buckets=144,
        tier=Tier.TEN_MINUTES,
        fresh_s=60,
        ticks=("24 h ago", "18 h", "12 h", "6 h", "now"),
    ),
    "30d": Scale(
        label="30 days",
        tab="30 days",
        bucket_s=4 * 3600,
        buckets=180,
        tier=Tier.TWO_HOURS,
        fresh_s=600,
        ticks=("30 days ago", "20 days", "10 days", "now"),
    ),
    "1y": Scale(
        label="1 year",
        tab="1 year",
        bucket_s=2 * 86400,
        buckets=183,
        tier=Tier.TWO_HOURS,
        fresh_s=3600,
        ticks=("1 year", "8 months", "4 months", "now"),
    ),
}
# Instead of an hour while the lab is younger than this: an hour would be an empty chart.
YOUNG = Scale(
    label="10 minutes",
    tab="",
    bucket_s=10,
    buckets=60,
    tier=None,
    fresh_s=10,
    ticks=("10 min ago", "5 min", "now"),
)


def scale_of(span: Span, gpu_ids: Iterable[int], *, now: datetime) -> Scale:
    """Return the scale of a span, and a shorter one where all that there is fits into that."""
    scale = SCALES[span]
    if span != "1h":
        return scale
    start, young = (at_second(each.first_bucket(now) * each.bucket_s) for each in (scale, YOUNG))
    older = GpuSample.objects.filter(gpu_id__in=sorted(gpu_ids), at__gte=start, at__lt=young)
    return scale if older.exists() else YOUNG


def gpu_history(
    gpu_ids: Iterable[int], scale: Scale, *, now: datetime
) -> Mapping[int, tuple[Measured | None, ...]]:
    """Return what was measured of each GPU in each bucket, ``None`` where nothing was.

    What is not rolled up yet at all is taken from samples.
    """
    ids, first = sorted(gpu_ids), scale.first_bucket(now)
    start_s, end_s = first * scale.bucket_s, (first + scale.buckets) * scale.bucket_s
    found = [moments_of(ids, scale.tier, start_s, end_s)]
    if scale.tier:
        found.insert(0, moments_of(ids, None, int(now.timestamp()) - ROLLED_UP_AFTER_S, end_s))
    starts = range(start_s, end_s, scale.bucket_s)
    points: dict[int, dict[int, Measured]] = {gpu_id: {} for gpu_id in ids}
    for each in found:
        for gpu_id, moments in each.items():
            points[gpu_id].update(by_period(moments, scale.bucket_s))
    return {gpu_id: tuple(map(points[gpu_id].get, starts)) for gpu_id in ids}


def moments_of(
    gpu_ids: Iterable[int], tier: Tier | None, start_s: int, end_s: int
) -> Mapping[int, Moments]:
    """Return what was stored of each GPU between two moments, of samples one a slot."""
    rows = _rows(tier).filter(
        gpu_id__in=list(gpu_ids), at__gte=at_second(start_s), at__lt=at_second(end_s)
    )
    names = ("samples", *METRICS, *PEAKS) if tier else METRICS
    found: defaultdict[int, Moments] = defaultdict(list)
    ordered = rows.order_by("gpu_id", "at").values_list("gpu_id", "at", "held", *names)
    for gpu_id, at, held, *values in ordered:
        samples, figures = (values[0], tuple(values[1:])) if tier else (1, tuple(values) * 2)
        each = Measured(samples=samples, averages=figures[:4], peaks=figures[4:], held=held)
        found[gpu_id].append((int(at.timestamp()), each))
    return found if tier else {gpu_id: by_slot(moments) for gpu_id, moments in found.items()}


def memory_by_node(*, now: datetime) -> Mapping[str, Series]:
    """Return the bytes in use on all GPUs of each node, minute by minute over an hour.

    It ends a minute ago, since when all minutes are rolled up. Counted once a minute in each
    process: every open page asks for it each second.
    """
    last_s = int(now.timestamp()) // Tier.MINUTE * Tier.MINUTE - 2 * Tier.MINUTE
    key = f"memory-by-node-{last_s}"
    found: Mapping[str, Series] | None = cache.get(key)
    if found is None:
        found = _memory_by_node(last_s)
        cache.set(key, found, SPARK_KEPT_S)
    return found


def _memory_by_node(last_s: int) -> Mapping[str, Series]:
    slugs = dict(Gpu.objects.order_by().values_list("pk", "node__slug"))
    starts = range(last_s - (SPARK_BUCKETS - 1) * Tier.MINUTE, last_s + 1, Tier.MINUTE)
    # With the GPUs named, their index is used.
    rows = _rows(Tier.MINUTE).filter(
        gpu_id__in=list(slugs), at__gte=at_second(starts[0]), at__lte=at_second(last_s)
    )
    sums: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for gpu_id, at, peak in rows.order_by().values_list("gpu_id", "at", "memory_peak_bytes"):
        if peak is not None:
            values, second = sums[slugs[gpu_id]], int(at.timestamp())
            values[second] = values.get(second, 0) + peak
    return {slug: tuple(map(values.get, starts)) for slug, values in sums.items()}


def _rows(tier: Tier | None) -> Any:
    return GpuPeriod.objects.filter(length_s=tier) if tier else GpuSample.objects.all()


def at_second(second: int) -> datetime:
    """Return the moment so many seconds after 1970."""
    return datetime.fromtimestamp(second, tz=UTC)
