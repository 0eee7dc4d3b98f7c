"""A lab's own entries beside the catalog's, and results that hold only as long as these stand.

Nothing is read here: who knows where a lab keeps its entries lets them be looked after.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

type Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Entries:
    number: int = 0
    rows: tuple[Row, ...] = ()


@dataclass(slots=True)
class _Kept:
    entries: _Entries
    look: Callable[[], None] | None = None


_kept = _Kept(_Entries())


def watch(look: Callable[[], None] | None) -> None:
    """Let ``look`` be called before entries are used: it calls ``take`` where others hold now."""
    _kept.look = look


def take(rows: tuple[Row, ...]) -> None:
    """Use these entries from now on. They were checked."""
    if rows != _kept.entries.rows:
        # One assignment, so that no thread sees new entries under the old number.
        _kept.entries = _Entries(_kept.entries.number + 1, rows)


def own_rows() -> tuple[Row, ...]:
    """Return the entries that hold now."""
    return _entries().rows


def kept[**P, R](most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache as ``lru_cache`` does what hangs on the catalog: other entries make it anew."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(maxsize=most)
        def cached(_number: int, *args: P.args, **named: P.kwargs) -> R:
            return function(*args, **named)

        @wraps(function)
        def answer(*args: P.args, **named: P.kwargs) -> R:
            return cached(_entries().number, *args, **named)  # type: ignore[arg-type]  # as lru_cache

        return answer

    return decorate


def _entries() -> _Entries:
    if _kept.look is not None:
        _kept.look()
    return _kept.entries
