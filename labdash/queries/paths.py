"""Values over time as paths of SVG, in steps: one unit a value to the right, ``HEIGHT`` down.

Every value is as wide as every other, so that a single one is seen too, and what is ``None`` is
left out. No database, no clock.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

type Values = Sequence[float | None]

HEIGHT = 200
# The upper edge leaves room for the line of what is possible.
USED_HEIGHT = 192


def line(values: Values, top: float) -> str:
    """Return a line through values, of which ``top`` is as high as it gets."""
    return "".join(
        f"M{start},{heights[0]}{_forward(start, heights)}" for start, heights in _runs(values, top)
    )


def area(lower: Values, upper: Values, top: float) -> str:
    """Return what lies between two lines, where both are known."""
    known = [None not in pair for pair in zip(lower, upper, strict=True)]
    edges = [
        _runs(
            [value if is_known else None for value, is_known in zip(each, known, strict=True)], top
        )
        for each in (upper, lower)
    ]
    return "".join(
        f"M{start},{above[0]}{_forward(start, above)}{_back(start, below)}Z"
        for (start, above), (_, below) in zip(*edges, strict=True)
    )


def gaps(known: Sequence[bool]) -> str:
    """Return the parts of a chart, from top to bottom, in which nothing is known."""
    parts, start = [], 0
    for is_known, run in groupby(known):
        end = start + len(list(run))
        if not is_known:
            parts.append(f"M{start},0H{end}V{HEIGHT}H{start}Z")
        start = end
    return "".join(parts)


def _runs(values: Values, top: float) -> Iterator[tuple[int, list[int]]]:
    """Yield where each unbroken series of values begins, and their heights from above."""
    start = 0
    for is_known, run in groupby(values, key=lambda value: value is not None):
        heights = [_height(value or 0.0, top) for value in run]
        if is_known:
            yield start, heights
        start += len(heights)


def _height(value: float, top: float) -> int:
    share = min(1.0, max(0.0, value / top)) if top > 0 else 0.0
    return round(HEIGHT - USED_HEIGHT * share)


def _forward(start: int, heights: Sequence[int]) -> str:
    changes = (
        f"H{start + number}V{heights[number]}"
        for number in range(1, len(heights))
        if heights[number] != heights[number - 1]
    )
    return f"{''.join(changes)}H{start + len(heights)}"


def _back(start: int, heights: Sequence[int]) -> str:
    changes = (
        f"H{start + number}V{heights[number - 1]}"
        for number in range(len(heights) - 1, 0, -1)
        if heights[number] != heights[number - 1]
    )
    return f"V{heights[-1]}{''.join(changes)}H{start}"
