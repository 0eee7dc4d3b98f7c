"""The history of GPUs: samples of an hour, and the periods that they are rolled up into.

Each period is made anew from all that lies in it, so doing it twice changes nothing. What is rolled
up is told by ``Gpu.rolled_up_to``, which late samples turn back; nothing is deleted before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from labdash.models import Gpu, GpuPeriod, GpuSample, Tier
from labdash.queries.history import PEAKS, at_second, moments_of
from labdash.queries.holders import held_by_gpu
from labdash.queries.measured import METRICS, Figures, Held, Measured, by_period
from workers import wire

SAMPLES_KEPT_FOR = timedelta(hours=1)
# Well within that, so that the samples around a late one are still there.
LATE_FOR = timedelta(minutes=50)
KEPT_FOR = {
    Tier.MINUTE: timedelta(days=1),
    Tier.TEN_MINUTES: timedelta(days=30),
    Tier.TWO_HOURS: timedelta(days=366),
}
# Samples wait for some seconds to be stored, several at once.
GRACE_S = 15
# What one statement deletes, and all of one run: nobody waits longer than a moment for the lock.
DELETED_AT_ONCE = 2000
DELETED_A_RUN = 100_000
HIGHEST_BYTES = 2**63 - 1
_NOTHING: Figures = (None,) * len(METRICS)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the GPUs of a node showed in one second, by their uuids."""

    at: datetime
    gpus: Mapping[str, tuple[Figures, Held | None]]


def moment_of(sample: wire.Sample, *, at: datetime) -> Moment:
    """Return what history keeps of a sample. A GPU of which nothing is known leaves a gap."""
    held = held_by_gpu(sample)
    told = {
        gpu.uuid: (tuple(getattr(gpu, metric) for metric in METRICS), held.get(gpu.uuid))
        for gpu in sample.gpus
    }
    known = {uuid: each for uuid, each in told.items() if each != (_NOTHING, None)}
    return Moment(at=at.replace(microsecond=0), gpus=known)


def store_moments(rows: Mapping[str, Gpu], moments: Iterable[Moment]) -> None:
    """Store samples of the GPUs ``rows``, which the caller has written in this transaction.

    Only then does nobody roll the same GPUs up without seeing these samples.
    """
    samples = [
        GpuSample(
            gpu=rows[uuid], at=moment.at, held=held, **dict(zip(METRICS, figures, strict=True))
        )
        for moment in moments
        for uuid, (figures, held) in moment.gpus.items()
        if uuid in rows
    ]
    if samples:
        GpuSample.objects.bulk_create(samples, ignore_conflicts=True)
        earliest = min(sample.at for sample in samples)
        rolled = Gpu.objects.filter(pk__in=[row.pk for row in rows.values()])
        rolled.filter(rolled_up_to__gt=earliest).update(rolled_up_to=earliest)


def roll_up(*, now: datetime) -> int:
    """Make periods of the samples that are not in them yet; return of how many GPUs."""
    end_s = _floor(int(now.timestamp()) - GRACE_S, Tier.MINUTE)
    samples = GpuSample.objects.filter(gpu=OuterRef("pk"), at__lt=at_second(end_s))
    fresh = samples.filter(at__gte=OuterRef("rolled_up_to"))
    waiting = Gpu.objects.filter(Q(rolled_up_to=None) & Exists(samples) | Exists(fresh))
    pks = list(waiting.order_by("pk").values_list("pk", flat=True))
    for pk in pks:
        _roll_up(pk, end_s)
    return len(pks)


def prune(*, now: datetime) -> int:
    """Delete what is older than its tier is kept, in small steps; return how many rows."""
    deleted = 0
    if not _clock_is_settled(now):
        return deleted
    for gpu in Gpu.objects.exclude(rolled_up_to=None).order_by("pk"):
        for rows in _expired(gpu, now):
            deleted += _delete(rows, DELETED_A_RUN - deleted)
    return deleted


def forget(gpus: QuerySet[Gpu]) -> None:
    """Delete the history of GPUs that are about to be deleted, in small steps."""
    for pk in gpus.values_list("pk", flat=True):
        _delete(GpuSample.objects.filter(gpu_id=pk))
        _delete(GpuPeriod.objects.filter(gpu_id=pk))


def _roll_up(pk: int, end_s: int) -> None:
    with transaction.atomic():
        gpu = Gpu.objects.select_for_update().filter(pk=pk).first()
        if gpu is None:
            return
        start_s = int(gpu.rolled_up_to.timestamp()) if gpu.rolled_up_to else 0
        # Of a sample that came late all of its minute is read again.
        samples = moments_of([pk], None, _floor(start_s, Tier.MINUTE), end_s)
        made: Mapping[int, Measured] = by_period(samples.get(pk, ()), Tier.MINUTE)
        _store(gpu, Tier.MINUTE, made)
        for tier, source in ((Tier.TEN_MINUTES, Tier.MINUTE), (Tier.TWO_HOURS, Tier.TEN_MINUTES)):
            made = _roll_further(gpu, made, source, tier)
        gpu.rolled_up_to = at_second(end_s)
        gpu.save(update_fields=["rolled_up_to"])


def _roll_further(
    gpu: Gpu, made: Iterable[int], source: Tier, tier: Tier
) -> Mapping[int, Measured]:
    """Make anew the periods of a tier in which any of the tier below was made."""
    touched = sorted({_floor(start_s, tier) for start_s in made})
    if not touched:
        return {}
    below = moments_of([gpu.pk], source, touched[0], touched[-1] + tier).get(gpu.pk, [])
    inside = set(touched)
    periods = by_period(((s, each) for s, each in below if _floor(s, tier) in inside), tier)
    _store(gpu, tier, periods)
    return periods


def _store(gpu: Gpu, tier: Tier, periods: Mapping[int, Measured]) -> None:
    rows = [
        GpuPeriod(gpu=gpu, length_s=tier, at=at_second(start_s), **_columns(each))
        for start_s, each in periods.items()
    ]
    GpuPeriod.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["gpu", "length_s", "at"],
        update_fields=["samples", *METRICS, *PEAKS, "held"],
    )


def _columns(each: Measured) -> dict[str, Any]:
    """Return the columns of a period. Bytes are whole and fit into 64 bits."""
    figures = zip((*METRICS, *PEAKS), (*each.averages, *each.peaks), strict=True)
    values = {
        name: _whole(value) if name.endswith("_bytes") and value is not None else value
        for name, value in figures
    }
    held = each.held and {key: _whole(value) for key, value in each.held.items() if value >= 1}
    return {"samples": each.samples, **values, "held": held}


def _whole(size_bytes: float) -> int:
    return min(round(size_bytes), HIGHEST_BYTES)


def _clock_is_settled(now: datetime) -> bool:
    """Tell whether the clock has been about what it is for an hour.

    One that jumped ahead by a day or a year, which happens to machines without a battery, gets
    that time to be put right before anything is deleted for its age.
    """
    before = GpuPeriod.objects.filter(
        gpu=OuterRef("pk"),
        length_s=Tier.MINUTE,
        at__range=(now - timedelta(hours=2), now - timedelta(hours=1)),
    )
    return Gpu.objects.filter(Exists(before)).exists()


def _expired(gpu: Gpu, now: datetime) -> Iterator[QuerySet[Any]]:
    rolled_up_to = gpu.rolled_up_to or now
    yield GpuSample.objects.filter(gpu=gpu, at__lt=min(now - SAMPLES_KEPT_FOR, rolled_up_to))
    for tier, kept_for in KEPT_FOR.items():
        yield GpuPeriod.objects.filter(gpu=gpu, length_s=tier, at__lt=now - kept_for)


def _delete(rows: QuerySet[Any], most: float = float("inf")) -> int:
    """Delete rows, some at a time, until ``most`` are."""
    deleted = 0
    while deleted < most:
        pks = rows.order_by().values("pk")[:DELETED_AT_ONCE]
        count, _ = rows.model._base_manager.filter(pk__in=pks).delete()  # noqa: SLF001 - Django's own way to all rows
        deleted += count
        if count < DELETED_AT_ONCE:
            break
    return deleted


def _floor(second: int, length_s: int) -> int:
    return second - second % length_s
