"""Times and durations as Go writes and reads them, in whole nanoseconds."""

import re
import time
from datetime import UTC, datetime

SECOND_NS = 1_000_000_000
# The longest duration of Go, some 292 years: what "keep for ever" becomes.
FOREVER_NS = 2**63 - 1

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([a-zµ]*)")


class DurationError(ValueError):
    """The text is no duration; the message is Go's."""


def now_ns() -> int:
    """Wall clock, nanoseconds since 1970."""
    return time.time_ns()


def rfc3339(moment_ns: int) -> str:
    """Write a moment with up to nine fractional digits, trailing zeros cut."""
    seconds, fraction = divmod(moment_ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_duration(text: str) -> int:
    """Read ``1h30m`` as nanoseconds. Raises DurationError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, position = 0.0, 0
    while match := _TERM.match(rest, position):
        total += float(match[1]) * _unit(match[2], text)
        position = match.end()
    if not rest or position != len(rest):
        raise DurationError(f'time: invalid duration "{text}"')
    return sign * int(total)


def _unit(unit: str, text: str) -> int:
    if not unit:
        raise DurationError(f'time: missing unit in duration "{text}"')
    if unit not in _UNIT_NS:
        raise DurationError(f'time: unknown unit "{unit}" in duration "{text}"')
    return _UNIT_NS[unit]


def keep_alive_ns(value: object) -> int | None:
    """Read a request's ``keep_alive``; ``None``: nothing was said. Raises DurationError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DurationError(f"Unsupported type: '{_go_type(value)}'")
    length = parse_duration(value) if isinstance(value, str) else int(value * SECOND_NS)
    return FOREVER_NS if length < 0 else min(length, FOREVER_NS)


def _go_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"
