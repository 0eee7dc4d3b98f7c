"""The drawing of loss against size: where each type lies, and where its name has room."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log10

from labdash.queries.guide_quality import Row

# The drawing is as wide as a phone shows it, so that nothing in it shrinks there.
WIDTH, HEIGHT = 340, 270
LEFT, BOTTOM = 36, 22
# The KL divergences and bits a weight at its edges.
LEAST_KLD, MOST_KLD = 5e-4, 4.0
LEAST_BITS, MOST_BITS = 1.5, 9.5
LINES = (0.001, 0.01, 0.1, 1.0)
BITS = range(2, 10)
# Types whose names are drawn where there is room, the first ones first.
NAMED = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "IQ3_XXS", "IQ2_M", "IQ1_S", "Q4_0", "Q2_K",
    "Q3_K_S", "IQ4_XS", "IQ2_XS", "Q5_0",
)  # fmt: skip
RADIUS = 3.5
# Of the letters on a phone, the widest: on wider screens they are smaller in proportion.
LETTER_WIDTH, LETTER_HEIGHT = 6.6, 11
# Where a name may stand: how far from the dot, down, and which end of it is there.
ABOVE_RIGHT, BELOW_LEFT = (6, -4, "start"), (-6, 12, "end")
PLACES = (
    ABOVE_RIGHT,
    BELOW_LEFT,
    (6, 12, "start"),
    (-6, -4, "end"),
    (7, 4, "start"),
    (-7, 4, "end"),
)

type Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Name:
    """The name of a type in the drawing, with where it stands and the room that it takes."""

    x: float
    y: float
    anchor: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class Point:
    """A type in the drawing. ``name`` is None where it has no room or is not among ``NAMED``."""

    row: Row
    x: float
    y: float
    name: Name | None = None

    @property
    def box(self) -> Box:
        """The room of its dot."""
        return (self.x - RADIUS, self.y - RADIUS, self.x + RADIUS, self.y + RADIUS)


def points(rows: Iterable[Row]) -> list[Point]:
    """Place types in the drawing, but for those of sixteen bits, and the names of some."""
    placed = [
        Point(row=row, x=x_of(row.bits), y=y_of(row.measured.kld))
        for row in rows
        if row.bits <= MOST_BITS
    ]
    taken = [point.box for point in placed]
    names: dict[str, Name] = {}
    for quant in NAMED:
        point = next((each for each in placed if each.row.quant == quant), None)
        if point and (name := _name(point, taken)):
            names[quant] = name
            taken.append(name.box)
    return [replace(point, name=names.get(point.row.quant)) for point in placed]


def _name(point: Point, taken: Sequence[Box]) -> Name | None:
    """Find room for a name: what is dominated lies above the others, so its name goes there."""
    first = ABOVE_RIGHT if point.row.is_dominated else BELOW_LEFT
    others = [box for box in taken if box != point.box]
    for right, down, anchor in (first, *PLACES):
        x, y = round(point.x + right, 1), round(point.y + down, 1)
        box = _box(x, y, anchor, len(point.row.quant) * LETTER_WIDTH)
        if _is_inside(box) and not any(overlap(box, other) for other in others):
            return Name(x=x, y=y, anchor=anchor, box=box)
    return None


def _box(x: float, y: float, anchor: str, width: float) -> Box:
    left = x if anchor == "start" else x - width
    return (left, y - LETTER_HEIGHT + 2, left + width, y + 2)


def _is_inside(box: Box) -> bool:
    left, top, right, bottom = box
    return left >= LEFT and top >= 0 and right <= WIDTH and bottom <= HEIGHT - BOTTOM


def overlap(one: Box, other: Box) -> bool:
    """Tell whether two boxes share any room."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def x_of(bits: float) -> float:
    """Place bits a weight in the drawing."""
    return round(LEFT + (bits - LEAST_BITS) / (MOST_BITS - LEAST_BITS) * (WIDTH - LEFT), 1)


def y_of(kld: float) -> float:
    """Place a loss in the drawing, where each line is a factor of ten."""
    share = (log10(kld) - log10(LEAST_KLD)) / (log10(MOST_KLD) - log10(LEAST_KLD))
    return round((1 - share) * (HEIGHT - BOTTOM), 1)
