"""Which layers to run through: a short walk along all neighbours, or some of equal periods."""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise


def short_walk[T: Hashable](steps: Sequence[T]) -> list[T]:
    """Walk from the first to the last step over every pair of neighbours, each twice.

    Pairs are gone over in an order that hangs on which there are, not on how often they occur, so
    that most splits of a model share one walk. The second time finds the memory as all later
    layers do.
    """
    if len(steps) <= 2:  # noqa: PLR2004 - nothing to leave out
        return list(steps)
    inner = list(pairwise(steps[:-1]))
    edges: dict[T, list[T]] = {}
    for before, after in dict.fromkeys(inner):
        edges.setdefault(before, []).append(after)
    walk = [steps[0]]
    left = dict.fromkeys(inner, 2)
    while left:
        at = walk[-1]
        following = next((after for after in edges.get(at, ()) if (at, after) in left), None)
        path = [following] if following is not None else _path(edges, at, {a for a, _ in left})
        if path is None:
            break
        for step in path:
            _use(left, (walk[-1], step))
            walk.append(step)
    walk.extend(_path(edges, walk[-1], {steps[-2]}) or ())
    return [*walk, steps[-1]] if len(walk) + 1 < len(steps) else list(steps)


def _use[T](left: dict[tuple[T, T], int], pair: tuple[T, T]) -> None:
    if pair in left:
        left[pair] -= 1
        if not left[pair]:
            del left[pair]


def _path[T: Hashable](edges: dict[T, list[T]], start: T, goals: Iterable[T]) -> list[T] | None:
    """Find the shortest way along neighbours, None where there is none."""
    ways: dict[T, list[T]] = {start: []}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        if at in goals:
            return ways[at]
        for after in edges.get(at, ()):
            if after not in ways:
                ways[after] = [*ways[at], after]
                waiting.append(after)
    return None


# Layers that differ come in periods no longer than this. The memory is the same after so many.
LONGEST_PERIOD, PERIODS_KEPT = 8, 3


def periodic_walk[T: Hashable](steps: Sequence[T]) -> list[T]:
    """Walk from the first to the last step, but over no period more than a few times in a row."""
    inner, walk, at = steps[:-1], list[T](), 0
    while at < len(inner):
        length, period = max(
            (_repeated(inner, at, period), -period) for period in range(1, LONGEST_PERIOD + 1)
        )
        kept = min(length, -period * PERIODS_KEPT)
        walk.extend(inner[at : at + kept])
        at += length
    return [*walk, steps[-1]]


def _repeated[T: Hashable](steps: Sequence[T], at: int, period: int) -> int:
    """Count the steps from ``at`` on that repeat what comes first, in whole periods."""
    end = at + period
    while end + period <= len(steps) and steps[end : end + period] == steps[at : at + period]:
        end += period
    repeated = end - at
    return repeated if repeated > period * PERIODS_KEPT else 1
