"""What was measured of a GPU over a time, and how times are put together. No database, no clock."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

type Metric = Literal[
    "memory_used_bytes", "utilization_percent", "temperature_celsius", "power_watts"
]
METRICS: tuple[Metric, ...] = (
    "memory_used_bytes",
    "utilization_percent",
    "temperature_celsius",
    "power_watts",
)
# Values in the order of METRICS.
type Figures = tuple[float | None, ...]
# Bytes by what holds them: ``model:NAME`` and the kinds of a bar's segments.
type Held = Mapping[str, float]

MODEL = "model:"
OTHER = "other"
# More that are in one memory at once are made up, or crumbs.
MOST_MODELS = 8
# A worker samples so often while nobody looks, and several times in it while somebody does.
SLOT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One GPU over a time. ``samples`` is its weight: slots of ``SLOT_S`` with a measurement."""

    samples: int
    averages: Figures
    peaks: Figures
    held: Held | None


def by_slot(moments: Iterable[tuple[int, Measured]]) -> list[tuple[int, Measured]]:
    """Make one of the samples in each slot, so that all slots weigh alike."""
    slots = by_period(moments, SLOT_S)
    return [(start, replace(each, samples=1)) for start, each in slots.items()]


def by_period(moments: Iterable[tuple[int, Measured]], length_s: int) -> dict[int, Measured]:
    """Put together what lies in the same period, by the second in which that begins."""
    found: defaultdict[int, list[Measured]] = defaultdict(list)
    for second, each in moments:
        found[second - second % length_s].append(each)
    return {start: merge(found[start]) for start in sorted(found)}


def merge(parts: Sequence[Measured]) -> Measured:
    """Put times together: averages by weight, peaks, and of what lay in memory the average."""
    if len(parts) == 1:
        return parts[0]
    weights = [part.samples for part in parts]
    averages = zip(*(part.averages for part in parts), strict=True)
    peaks = zip(*(part.peaks for part in parts), strict=True)
    return Measured(
        samples=sum(weights),
        averages=tuple(_mean(values, weights) for values in averages),
        peaks=tuple(_highest(values) for values in peaks),
        held=_mean_held(parts),
    )


def fold(held: Held, most: int = MOST_MODELS) -> Held:
    """Count all but the largest models as other."""
    models = sorted(
        (key for key in held if key.startswith(MODEL)), key=lambda key: (-held[key], key)
    )
    small = set(models[most:])
    if not small:
        return held
    kept = {key: value for key, value in held.items() if key not in small}
    return {**kept, OTHER: kept.get(OTHER, 0) + sum(held[key] for key in small)}


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    pairs = zip(values, weights, strict=True)
    known = [(value, weight) for value, weight in pairs if value is not None]
    if not known:
        return None
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _mean_held(parts: Iterable[Measured]) -> Held | None:
    """Average over the time in which it was known; what was not there then held nothing."""
    sums: defaultdict[str, float] = defaultdict(float)
    total = 0
    for part in parts:
        if part.held is not None:
            total += part.samples
            for key, value in part.held.items():
                sums[key] += value * part.samples
    return fold({key: value / total for key, value in sums.items()}) if total else None
