"""What loads in this lab were seen to take beside their buffers, by card, driver and engine."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from labdash.models import Prediction
from labdash.planner.memory.overhead import GROWTH_MIB, MIB, Overhead

# The newest loads of each kind count; an update of driver or engine begins anew by itself.
NEWEST = 25
# So few tell nothing yet.
LEAST = 3
# No CUDA context was ever seen to take less than 100 MiB, or more than 555; with room for others.
LEAST_BYTES, MOST_BYTES = 16 * MIB, 1024 * MIB
# What is farther from the median than this has another cause.
OUTLIER_BYTES = 96 * MIB
# Of all rows so many are read: enough for a lab's cards.
MOST_ROWS = 2000

type Kind = tuple[str, str, str]


def learned_overheads() -> Mapping[Kind, Overhead]:
    """Return the overheads that were learned, by name of the card, driver and engine."""
    seen: defaultdict[Kind, list[int]] = defaultdict(list)
    rows = Prediction.objects.values_list(
        "gpu_name", "driver", "engine", "observed_bytes", "buffers_bytes"
    )
    for name, driver, engine, observed, buffers in rows[:MOST_ROWS]:
        seen[name, driver, engine].append(observed - buffers)
    learned = {kind: _learn(extras[:NEWEST]) for kind, extras in seen.items()}
    return {kind: overhead for kind, overhead in learned.items() if overhead is not None}


def _learn(extras: Sequence[int]) -> Overhead | None:
    """Take the median of what agrees; nothing where too little does."""
    sane = [extra for extra in extras if LEAST_BYTES <= extra <= MOST_BYTES]
    if len(sane) < LEAST:
        return None
    middle = median(sane)
    agreeing = [extra for extra in sane if abs(extra - middle) <= OUTLIER_BYTES]
    if len(agreeing) < LEAST or 2 * len(agreeing) <= len(sane):
        return None
    return Overhead(round(median(agreeing)), GROWTH_MIB * MIB, "learned")
