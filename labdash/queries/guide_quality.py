"""What quantization costs in quality: as it was measured, against the size."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import exp, log

from labdash.catalog.own import kept
from labdash.catalog.quality import Quality, qualities
from labdash.queries.guide_models import GuideModel, open_guide_model
from labdash.queries.opening import requantized

# The model on which perplexity and divergence were measured.
MEASURED_ON = "llama3:8b"
# Fewer bits than these are for need alone.
FEW_BITS = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """A type as it was measured, with an importance matrix where one was used.

    ``worse_8b`` and ``worse_70b`` are by how much of the perplexity of F16 it is worse.
    ``kld_without`` is the loss without a matrix. ``is_dominated``: another type that was measured
    is no larger and loses less. ``guessed``: nobody has seen ``pull`` published.
    """

    measured: Quality
    bits: float
    file_bytes: int
    worse_8b: float
    worse_70b: float | None
    kld_without: float | None
    pull: str
    guessed: bool
    is_dominated: bool = False

    @property
    def quant(self) -> str:
        """Name the type."""
        return self.measured.quant


@kept(2)
def read_quality() -> tuple[Row, ...]:
    """Return the types that were measured, the least loss first."""
    model = open_guide_model(MEASURED_ON)
    best: dict[str, Quality] = {}
    for each in qualities():
        best.setdefault(each.quant, each)
    rows = [_row(model, each) for each in best.values()]
    return tuple(replace(row, is_dominated=is_dominated(row, rows)) for row in rows)


def _row(model: GuideModel, measured: Quality) -> Row:
    file = requantized(model.plain, measured.quant, imatrix=measured.imatrix)
    f16 = qualities()[0]
    others = (each for each in qualities() if each.quant == measured.quant)
    pull = model.pull_name(measured.quant)
    return Row(
        measured=measured,
        bits=8 * file.weight_bytes / model.params,
        file_bytes=file.weight_bytes,
        worse_8b=measured.ppl_8b / f16.ppl_8b - 1,
        worse_70b=_worse(measured.ppl_70b, f16.ppl_70b),
        kld_without=next((each.kld for each in others if measured.imatrix > each.imatrix), None),
        pull=pull,
        guessed=model.is_guess(measured.quant, pull),
    )


def _worse(value: float | None, best: float | None) -> float | None:
    return value / best - 1 if value and best else None


def is_dominated(row: Row, rows: Iterable[Row]) -> bool:
    """Tell whether another type is no larger and loses less."""
    return any(
        other.file_bytes <= row.file_bytes and other.measured.kld < row.measured.kld
        for other in rows
    )


def find_row(quant: str) -> Row:
    """Return the row of a type that was measured."""
    return next(row for row in read_quality() if row.quant == quant)


def best_below(bits: float) -> Row:
    """Return the type of fewer bits that loses least."""
    return min((row for row in read_quality() if row.bits < bits), key=lambda row: row.measured.kld)


def rise_a_bit(more: Row, less: Row) -> float:
    """Tell by which factor the loss grows for each bit between two types."""
    return exp(log(less.measured.kld / more.measured.kld) / (more.bits - less.bits))
