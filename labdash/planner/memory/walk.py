"""Which layers to run through: a short walk along all neighbours that a model has."""

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
