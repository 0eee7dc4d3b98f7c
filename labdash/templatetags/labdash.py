"""How pages write values; sizes, speeds and spans as ``wording`` has them.

What is not known comes in as ``None`` and leaves as an empty string; templates say why.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from itertools import groupby
from math import isfinite
from typing import Concatenate
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from labdash import wording
from labdash.planner.speed import Speed
from labdash.planner.telling import words
from labdash.queries.bars import Bar, Segment
from labdash.wording import DAY_S, GIB, HOUR_S, MINUTE_S

register = template.Library()

KIBI = 1024
# Width of a bar and of a chart in units of their own; both stretch to the page.
BAR_WIDTH = 1000
CHART_WIDTH = 240
GAP = 2
UNITS = {"utilization_percent": "%", "temperature_celsius": "°C", "power_watts": "W"}
# A sample is at most this old while somebody looks, so its age says nothing.
FRESH_S = 3


def _figure[**P](
    write: Callable[Concatenate[float | None, P], str],
) -> Callable[Concatenate[object, P], str]:
    """Register a filter of numbers; what is none, or not finite, is written as what is unknown."""

    @register.filter(name=write.__name__)
    @wraps(write)
    def written(value: object, /, *args: P.args, **options: P.kwargs) -> str:
        return write(_finite(value), *args, **options)

    return written


def _finite(value: object) -> float | None:
    try:
        return value if isinstance(value, int | float) and isfinite(value) else None
    except OverflowError:
        # A whole number that no float holds.
        return None


@_figure
def gib(value: float | None) -> str:
    """Write bytes as GiB with one decimal and without the unit."""
    return "" if value is None else f"{value / GIB:.1f}"


@_figure
def size(value: float | None) -> str:
    """Write bytes with the unit that suits."""
    return "" if value is None else wording.size(value)


@_figure
def signed_size(value: float | None) -> str:
    """Write a difference of bytes with its sign."""
    return "" if value is None else ("+" if value >= 0 else "-") + wording.size(abs(value))


@_figure
def exactly(value: float | None) -> str:
    """Write bytes to the last one, for titles."""
    return "" if value is None else f"{value:,.0f} bytes"


@_figure
def speed(value: float | None) -> str:
    """Write bytes per second."""
    return "" if value is None else wording.speed(value)


@_figure
def duration(value: float | None) -> str:
    """Write seconds in words that need no second look."""
    if value is None:
        return ""
    seconds = round(value)
    if seconds < 2 * MINUTE_S:
        return f"{seconds} s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S} min"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S} h {seconds % HOUR_S // MINUTE_S} min"
    days = seconds // DAY_S
    return "1 day" if days == 1 else f"{days} days"


@_figure
def age(value: float | None) -> str:
    """Write how old something is; what is fresh has no age worth telling."""
    if value is None or value < FRESH_S:
        return ""
    return duration(value)


@register.filter
def passed(moment: datetime | None, now: datetime) -> str:
    """Write how long before ``now`` something happened."""
    return "" if moment is None else coarsely((now - moment).total_seconds())


@_figure
def coarsely(value: float | None) -> str:
    """Write a span in its largest unit alone, so that it seldom changes."""
    return "" if value is None else wording.age(value)


@_figure
def context_length(value: float | None) -> str:
    """Write tokens of context as people say them: 8k, 32k."""
    if value is None:
        return ""
    thousands, rest = divmod(int(value), KIBI)
    return f"{thousands}k" if thousands and not rest else f"{value:,}"


@_figure
def percent(value: float | None) -> str:
    """Write a share of one."""
    return "" if value is None else f"{100 * value:.0f} %"


@_figure
def exact_percent(value: float | None) -> str:
    """Write a share of one, or of an error, with a decimal."""
    return "" if value is None else f"{100 * abs(value):.1f} %"


@_figure
def rate(value: float | None) -> str:
    """Write a speed of answers, with a decimal only where it tells something."""
    return "" if value is None else words.rate(value)


@_figure
def as_percent(value: float | None) -> str:
    """Write a share of one as a bare number of percent, for attributes."""
    return f"{100 * (value or 0):.0f}"


@_figure
def as_permille(value: float | None) -> str:
    """Write a share of one as the width of a bar."""
    return f"{BAR_WIDTH * (value or 0):.0f}"


@_figure
def measure(value: float | None, metric: str) -> str:
    """Write a measured value with the unit of its metric."""
    if metric == "memory_used_bytes":
        return size(value)
    return "" if value is None else f"{value:.0f} {UNITS[metric]}"


@register.filter
def tokens_per_s(speed: Speed) -> str:
    """Write a range of speeds, with a decimal only where it tells something."""
    digits = 0 if speed.high >= 10 else 1  # noqa: PLR2004 - below it one more digit matters
    low, high = f"{speed.low:.{digits}f}", f"{speed.high:.{digits}f}"
    return f"{low} tokens/s" if low == high else f"{low} to {high} tokens/s"


@register.filter
def of(values: Mapping[str, object], name: str) -> object:
    """Look up a name; what is not there is 0, for counts."""
    return values.get(name, 0)


@register.filter
def short_gpu(name: str | None) -> str:
    """Drop the maker's words that every card of a lab shares."""
    return (name or "").removeprefix("NVIDIA ").removeprefix("GeForce ")


@register.filter
def count(number: int, words: str) -> str:
    """Write a number with its noun; ``words`` is ``"node,nodes"``."""
    one, many = words.split(",")
    return f"{number} {one if number == 1 else many}"


@register.filter
def key(name: str) -> str:
    """Make an element's id of a name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


@register.simple_tag
def bar(segments: Sequence[Segment], total_bytes: int | None) -> SafeString:
    """Draw segments as rectangles on a bar of ``BAR_WIDTH``, a thin gap after each."""
    left, parts = 0.0, []
    for segment in segments if total_bytes else ():
        # More may be told than the bar holds.
        width = min(BAR_WIDTH * segment.size_bytes / (total_bytes or 1), BAR_WIDTH - left)
        if segment.kind != "free" and width >= 1:
            shade = _shade(segment)
            drawn = width - (GAP if width > 3 * GAP else 0)
            parts.append((shade, f"{left:.0f}", f"{drawn:.0f}"))
        left += width
    return format_html_join("", '<rect class="s-{}" x="{}" width="{}" height="16"/>', parts)


def _shade(segment: Segment) -> str:
    if segment.kind == "demand":
        return f"m{segment.colour} s-demand"
    return f"m{segment.colour}" if segment.kind == "model" else segment.kind


@register.filter
def mark(bar: Bar) -> str:
    """Tell where the mark of a bar stands; nothing where it has none."""
    if bar.mark_bytes is None or not bar.total_bytes:
        return ""
    return f"{min(BAR_WIDTH - 1.0, max(1.0, BAR_WIDTH * bar.mark_bytes / bar.total_bytes)):.0f}"


@register.filter
def named(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments that the line under a bar names: what somebody put there."""
    return [segment for segment in segments if segment.kind in {"model", "demand", "other"}]


@register.filter
def in_words(segments: Iterable[Segment]) -> str:
    """Write a bar as text."""
    return ", ".join(f"{segment.label} {size(segment.size_bytes)}" for segment in segments)


@register.filter
def trace(values: Sequence[float | None], top: float) -> str:
    """Return the path of a line on 240 by 100; what is unknown interrupts it."""
    return "".join("M" + "L".join(run) for run in _points(values, top))


@register.filter
def area(values: Sequence[float | None], top: float) -> str:
    """Return the path of what lies under that line."""
    shapes = []
    for run in _points(values, top):
        first, last = run[0].split(",")[0], run[-1].split(",")[0]
        shapes.append(f"M{first},100L" + "L".join(run) + f"L{last},100Z")
    return "".join(shapes)


def _points(values: Sequence[float | None], top: float) -> list[list[str]]:
    step = CHART_WIDTH / max(1, len(values) - 1)
    runs = []
    for known, run in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if known:
            points = [
                f"{index * step:.0f},{100 - 96 * min(1.0, (value or 0) / (top or 1)):.0f}"
                for index, value in run
            ]
            runs.append(points if len(points) > 1 else points * 2)
    return runs


@register.filter
def known(values: Sequence[float | None]) -> int:
    """Count the known values."""
    return sum(value is not None for value in values)


@register.filter
def newest(values: Sequence[float | None]) -> float | None:
    """Return the last known value."""
    return next((value for value in reversed(values) if value is not None), None)


@register.filter
def highest(values: Sequence[float | None]) -> float | None:
    """Return the greatest known value."""
    return max((value for value in values if value is not None), default=None)


@register.filter
def lowest(values: Sequence[float | None]) -> float | None:
    """Return the least known value."""
    return min((value for value in values if value is not None), default=None)


@register.simple_tag
def press(name: str, *values: object, **query: object) -> SafeString:
    """Write the attributes of a button that posts to a view, with HTMX or by the page's form.

    The form ``act`` of the page holds the token, so that parts of the page need none.
    """
    url = reverse(name, args=values) + (f"?{urlencode(query)}" if query else "")
    return format_html(
        'form="act" formaction="{0}" hx-post="{0}" hx-include="#act" hx-swap="none"', url
    )


@register.simple_tag
def swatch(colour: int | None) -> SafeString:
    """Draw the little square that tells a segment's colour."""
    shade = f"m{colour}" if colour else "other"
    return format_html(
        '<svg class="sw" viewBox="0 0 9 9" aria-hidden="true">'
        '<rect class="s-{}" width="9" height="9"/></svg>',
        shade,
    )
