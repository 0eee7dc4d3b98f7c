"""Number formats as they are laid out in bits, and what rounding to them costs; all computed."""

from dataclasses import dataclass
from functools import cache
from math import log10, sqrt
from statistics import NormalDist, fmean

from labdash.planner.file_types import FILE_TYPES
from labdash.planner.ggml import TYPES
from labdash.queries.guide_making import CONVERTED, make_command

# Width of one bit in a drawing.
BIT_WIDTH = 10
BLOCK, ROW = 32, 4096
# How far from the usual the one outlier lies that is put into a row, in standard deviations.
OUTLIER_SIGMAS = 20.0
# Ends of the usual weights, as the quantiles of a normal distribution.
HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits of one meaning: where they begin in the drawing and how wide they are."""

    kind: str
    bits: int
    left: int

    @property
    def x(self) -> int:
        """Where it is drawn."""
        return self.left * BIT_WIDTH

    @property
    def width(self) -> int:
        """How wide it is drawn."""
        return self.bits * BIT_WIDTH


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """``digits`` are the decimal ones that are kept; ``step`` the largest relative rounding.

    ``quant`` is the file type of GGUF that keeps weights so.
    """

    name: str
    bits: int
    fields: tuple[Field, ...]
    largest: str
    smallest: str
    digits: float | None
    step: float | None
    quant: str

    @property
    def command(self) -> str:
        """How to make such a file, nothing where files of its kind are published."""
        return make_command(self.quant) if self.quant in CONVERTED else ""

    @property
    def width(self) -> int:
        """How wide the drawing is."""
        return self.bits * BIT_WIDTH

    @property
    def ticks(self) -> str:
        """The lines between the bits, as a path."""
        return "".join(f"M{bit * BIT_WIDTH} 0v16" for bit in range(1, self.bits))


def number_formats() -> tuple[NumberFormat, ...]:
    """Return the formats in which weights are kept."""
    return (
        _float("FP32", exponent=8, mantissa=23),
        _float("FP16", exponent=5, mantissa=10),
        _float("BF16", exponent=8, mantissa=7),
        _integer("INT8", bits=8),
        _integer("INT4", bits=4),
    )


def _float(name: str, *, exponent: int, mantissa: int) -> NumberFormat:
    bias = 2 ** (exponent - 1) - 1
    largest = (2 - 2.0**-mantissa) * 2.0**bias
    return NumberFormat(
        name=name,
        bits=1 + exponent + mantissa,
        fields=(
            Field(kind="sign", bits=1, left=0),
            Field(kind="exponent", bits=exponent, left=1),
            Field(kind="mantissa", bits=mantissa, left=1 + exponent),
        ),
        largest=f"±{_power(largest)}",
        smallest=_power(2.0 ** (1 - bias)),
        digits=(mantissa + 1) * log10(2),
        quant=name.replace("FP", "F"),
        step=2.0 ** -(mantissa + 1),
    )


def _integer(name: str, *, bits: int) -> NumberFormat:
    top = 2 ** (bits - 1)
    return NumberFormat(
        name=name,
        bits=bits,
        fields=(
            Field(kind="sign", bits=1, left=0),
            Field(kind="value", bits=bits - 1, left=1),
        ),
        largest=f"-{top} … {top - 1}".replace("-", "\N{MINUS SIGN}"),
        smallest="1, times the scale of its group",
        digits=None,
        step=None,
        quant=f"Q{bits}_0",
    )


def _power(value: float) -> str:
    """Write a number as people do: whole, or with the power of ten of a long one."""
    if 1 <= value < 1e6:  # noqa: PLR2004 - longer numbers are read by their power
        return f"{value:,.0f}"
    digits, power = f"{value:.1e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} \N{MULTIPLICATION SIGN} 10{raised}"


@dataclass(frozen=True, kw_only=True)
class BlockType:
    """How a tensor type keeps a group: the bits of its numbers and those of its scales.

    ``quant`` is the usual file type whose base it is.
    """

    name: str
    block: int
    block_bytes: int
    number_bits: int
    quant: str

    @property
    def bits(self) -> float:
        """All bits a weight."""
        return 8 * self.block_bytes / self.block

    @property
    def scale_bits(self) -> int:
        """Bits of scales and minima for the whole group."""
        return 8 * self.block_bytes - self.number_bits * self.block


def block_types() -> tuple[BlockType, ...]:
    """Return how the usual types of GGUF keep their groups."""
    bits = {"q4_0": 4, "q8_0": 8, "q4_K": 4, "q5_K": 5, "q6_K": 6, "q3_K": 3, "q2_K": 2}
    return tuple(
        BlockType(
            name=name,
            block=TYPES[name].block,
            block_bytes=TYPES[name].block_bytes,
            number_bits=number_bits,
            quant=_usual_of(name),
        )
        for name, number_bits in bits.items()
    )


def _usual_of(base: str) -> str:
    """Name the usual file type of a base: of several the medium mix."""
    names = [kind.name for kind in FILE_TYPES.values() if kind.base == base]
    return next((name for name in names if name.endswith("_M")), names[0])


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """The error of rounding a row to four bits, as a share of the usual size of its weights."""

    by_row: float
    by_group: float
    by_row_with_outlier: float
    by_group_with_outlier: float


@cache
def rounding() -> Rounding:
    """Round a row of weights spread like a bell, once with an outlier among them."""
    spread = NormalDist()
    # Neighbours in the row are far apart in size, as they are in a model.
    order = [(index * 1237) % ROW for index in range(ROW)]
    plain = [spread.inv_cdf((index + HALF) / ROW) for index in order]
    spoiled = [OUTLIER_SIGMAS, *plain[1:]]
    return Rounding(
        by_row=_error(plain, ROW),
        by_group=_error(plain, BLOCK),
        by_row_with_outlier=_error(spoiled, ROW),
        by_group_with_outlier=_error(spoiled, BLOCK),
    )


def _error(weights: list[float], group: int) -> float:
    """Return the root mean square of the errors of all but the first, which may be an outlier."""
    rounded: list[float] = []
    for start in range(0, len(weights), group):
        part = weights[start : start + group]
        scale = max(map(abs, part)) / 7
        rounded += [round(weight / scale) * scale for weight in part]
    errors = [(a - b) ** 2 for a, b in zip(weights[1:], rounded[1:], strict=True)]
    return sqrt(fmean(errors))
