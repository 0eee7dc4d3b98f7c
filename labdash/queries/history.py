"""How GPUs did over the last hour or day, in few points that a chart can draw."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from django.core.cache import cache
from django.db.models import Avg, FloatField, Func, IntegerField, Max
from django.db.models.functions import Cast

from labdash.models import GpuSample

type Span = Literal["1h", "24h"]
type Metric = Literal[
    "memory_used_bytes", "utilization_percent", "temperature_celsius", "power_watts"
]
METRICS: tuple[Metric, ...] = (
    "memory_used_bytes",
    "utilization_percent",
    "temperature_celsius",
    "power_watts",
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How far back a chart looks and how wide one of its points is."""

    label: str
    bucket_s: int
    buckets: int

    def last_bucket(self, now: datetime) -> int:
        """Return the number of the bucket before the one that still fills."""
        return int(now.timestamp()) // self.bucket_s - 1


SCALES: Mapping[Span, Scale] = {
    "1h": Scale(label="1 hour", bucket_s=60, buckets=60),
    "24h": Scale(label="24 hours", bucket_s=900, buckets=96),
}


class Bucket(Func):
    """Number of the bucket of ``bucket_s`` seconds since 1970 in which a moment lies."""

    output_field: ClassVar[Any] = IntegerField()

    def __init__(self, moment: str, bucket_s: int) -> None:
        super().__init__(moment, bucket_s=bucket_s)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """Count in SQLite, whose times are text in UTC."""
        template = "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(bucket_s)d"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """Count in PostgreSQL."""
        template = "(EXTRACT(EPOCH FROM %(expressions)s)::bigint / %(bucket_s)d)"
        return self.as_sql(compiler, connection, template=template, **extra)


type Series = tuple[float | None, ...]


def memory_by_node(*, now: datetime) -> Mapping[str, Series]:
    """Return the bytes in use on all GPUs of each node, minute by minute over the last hour.

    Counted once a minute in each process: every open page asks for it each second.
    """
    scale = SCALES["1h"]
    last = scale.last_bucket(now)
    key = f"memory-by-node-{last}"
    found: Mapping[str, Series] | None = cache.get(key)
    if found is None:
        found = _memory_by_node(scale, last)
        cache.set(key, found, scale.bucket_s * 2)
    return found


def _memory_by_node(scale: Scale, last: int) -> Mapping[str, Series]:
    rows = (
        _samples(scale, last)
        .values_list("gpu__node__slug", "gpu_id", "bucket")
        .annotate(value=Max("memory_used_bytes"))
        .order_by()
    )
    sums: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for slug, _gpu, bucket, value in rows:
        if value is not None:
            sums[slug][bucket] = sums[slug].get(bucket, 0) + value
    return {slug: _series(values, scale, last) for slug, values in sums.items()}


def gpu_history(
    gpu_ids: Iterable[int], span: Span, *, now: datetime
) -> Mapping[int, Mapping[Metric, Series]]:
    """Return what each GPU reported over the span: memory at its peak, the rest on average."""
    scale, ids = SCALES[span], sorted(gpu_ids)
    last = scale.last_bucket(now)
    rows = (
        _samples(scale, last)
        .filter(gpu_id__in=ids)
        .values_list("gpu_id", "bucket")
        .annotate(
            memory=Max("memory_used_bytes"),
            utilization=Avg(Cast("utilization_percent", FloatField())),
            temperature=Avg(Cast("temperature_celsius", FloatField())),
            power=Avg("power_watts"),
        )
        .order_by()
    )
    found: dict[int, dict[Metric, dict[int, float]]] = {
        gpu_id: {metric: {} for metric in METRICS} for gpu_id in ids
    }
    for gpu_id, bucket, *values in rows:
        for metric, value in zip(METRICS, values, strict=True):
            if value is not None:
                found[gpu_id][metric][bucket] = float(value)
    return {
        gpu_id: {metric: _series(values, scale, last) for metric, values in metrics.items()}
        for gpu_id, metrics in found.items()
    }


def _samples(scale: Scale, last: int) -> Any:
    start = datetime.fromtimestamp((last + 1 - scale.buckets) * scale.bucket_s).astimezone()
    end = start + timedelta(seconds=scale.buckets * scale.bucket_s)
    return GpuSample.objects.filter(at__gte=start, at__lt=end).annotate(
        bucket=Bucket("at", scale.bucket_s)
    )


def _series(values: Mapping[int, float], scale: Scale, last: int) -> Series:
    return tuple(values.get(bucket) for bucket in range(last + 1 - scale.buckets, last + 1))
