"""How far past predictions were from what the driver showed."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from labdash.models import Prediction

# The figures are of so many, the newest.
COUNTED = 200
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """``median_bytes`` and ``worst_bytes`` are what was seen beyond the prediction, with a sign.

    The shares are of what was seen. All are None while nothing was compared yet.
    """

    count: int
    median_bytes: int | None = None
    worst_bytes: int | None = None
    median_share: float | None = None
    worst_share: float | None = None
    newest: tuple[Prediction, ...] = ()


def read_errors(*, shown: int = SHOWN) -> Predictions:
    """Read the newest predictions that were compared, and how good they were."""
    rows = tuple(Prediction.objects.select_related("instance__node")[:COUNTED])
    if not rows:
        return Predictions(count=0)
    errors = [row.error_bytes for row in rows]
    shares = [row.error_bytes / row.observed_bytes for row in rows if row.observed_bytes]
    return Predictions(
        count=len(rows),
        median_bytes=round(median(errors)),
        worst_bytes=round(_worst(errors)),
        median_share=median(shares) if shares else None,
        worst_share=_worst(shares) if shares else None,
        newest=rows[:shown],
    )


def _worst[N: (int, float)](values: Sequence[N]) -> N:
    return max(values, key=abs)
