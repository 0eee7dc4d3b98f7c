"""Local search: whatever makes a plan better by moving one deployment, or two, is done."""

from collections.abc import Callable, Collection, Iterator
from itertools import combinations, islice

from labdash.planner.solving.problem import Column
from labdash.planner.solving.state import State, without

# Columns that one deployment tries at the cost of another, in one pass.
MOST_TRIED = 40
# What a search does before it ends, in looks at a column: ``state.py`` counts.
USUAL_EFFORT = 25_000


def improve(state: State, *, effort: int = USUAL_EFFORT) -> None:
    """Improve until nothing helps or the effort is spent."""
    last = state.tried + effort
    while _pass(state, last) and state.tried < last:
        pass


def shake(state: State, *, effort: int, may_go_on: Callable[[], bool]) -> None:
    """Empty two nodes at a time and fill them anew, as long as the effort lasts."""
    last = state.tried + effort
    count = len(state.sets)
    for step in range(1, count // 2 + 1):
        for first in range(count):
            if state.tried >= last or not may_go_on():
                return
            _shaken(state, (first, (first + step) % count), last)


def _shaken(state: State, nodes: tuple[int, int], last: int) -> None:
    kept, before = state.copy_sets(), state.total
    gone = {column.wanted for node in nodes for column in state.sets[node]}
    waiting = {number for number in range(len(state.held)) if state.open_replicas(number)}
    for node in nodes:
        state.set(node, ())
    if not gone | waiting:
        return
    problem = state.problem
    order = sorted(gone, key=lambda n: (problem.wanted[n].priority, -_need(state, n), n))
    for wanted in order:
        while state.open_replicas(wanted) and _placed(state, wanted, above=0):
            pass
    _pass(state, last, only=gone | waiting)
    if state.total <= before:
        state.restore(kept)


def _need(state: State, wanted: int) -> int:
    return min(group.need_bytes for group in state.problem.groups[wanted])


def _pass(state: State, last: int, *, only: Collection[int] = ()) -> bool:
    """Try all deployments once, or some, those that lack most first."""
    before = state.total
    for wanted in _by_lack(state):
        if only and wanted not in only:
            continue
        if state.tried >= last:
            break
        for old in [*state.held[wanted], *[None] * state.open_replicas(wanted)]:
            if old is None or old in state.held[wanted]:
                _better(state, wanted, old)
    return state.total > before


def _by_lack(state: State) -> list[int]:
    groups, held = state.problem.groups, state.held

    def lack(wanted: int) -> int:
        best = groups[wanted][0].worth * state.problem.wanted[wanted].replicas
        return best - sum(column.group.worth for column in held[wanted])

    return sorted((n for n in range(len(groups)) if groups[n]), key=lambda n: (-lack(n), n))


def _better(state: State, wanted: int, old: Column | None) -> bool:
    """Serve one replica better, or at all, and whoever is in the way elsewhere."""
    above = old.group.worth if old else 0
    if not state.problem.groups[wanted] or above >= state.problem.groups[wanted][0].worth:
        return False
    base = state.total
    if _moved(state, wanted, old, base):
        return True
    reached = islice(_reaching(state, wanted, above), MOST_TRIED)
    return any(_ousting(state, column, old, base) for column in reached)


def _moved(state: State, wanted: int, old: Column | None, base: int) -> bool:
    """Move one replica to where it is worth more, all else staying."""
    kept = state.copy_sets()
    if old is not None and not state.take(old):
        return False
    for column in state.options(wanted, above=old.group.worth if old else 0):
        if state.put(column):
            if state.total > base:
                return True
            state.take(column)
    state.restore(kept)
    return False


def _reaching(state: State, wanted: int, above: int) -> Iterator[Column]:
    """Return columns that are worth more, with no regard to what is in the way."""
    problem = state.problem
    for group in problem.groups[wanted]:
        if group.worth <= above:
            return
        for position in range(min(len(group.profile.members), 8)):
            yield problem.column(group, position)


def _ousting(state: State, column: Column, old: Column | None, base: int) -> bool:
    """Put a column where others are, and those elsewhere."""
    kept = state.copy_sets()
    if old is not None and not state.take(old):
        return False
    taken = state.copy_sets()
    for victims in _victims(state, column, most=2 if old is None else 1):
        if _ousted(state, column, victims, base):
            return True
        state.restore(taken)
    state.restore(kept)
    return False


def _victims(state: State, column: Column, *, most: int) -> Iterator[tuple[Column, ...]]:
    """Yield whom a column could take the place of, one and then two at a time."""
    mine = set(column.choice.bytes)
    near = [
        each
        for each in state.sets[column.node]
        if each.choice.instance == column.choice.instance or mine & set(each.choice.bytes)
    ]
    for count in range(1, most + 1):
        for victims in combinations(near, count):
            if _makes_room(state, column, victims):
                yield victims


def _makes_room(state: State, column: Column, victims: tuple[Column, ...]) -> bool:
    """Whether what others leave is enough for a resident, where the bytes of all are sure.

    What shares a runner needs nothing; and whatever else is tried out.
    """
    there = state.sets[column.node]
    shares = any(each.runner == column.runner for each in there)
    if shares or not (column.group.resident and all(each.sure for each in (column, *there))):
        return True
    freed = [victim.choice.bytes for victim in victims]
    return all(
        size <= state.free[device] + sum(each.get(device, 0) for each in freed)
        for device, size in column.loads
    )


def _ousted(state: State, column: Column, victims: tuple[Column, ...], base: int) -> bool:
    node, instance = column.node, column.choice.instance
    if any(e.choice.instance == instance and e not in victims for e in state.held[column.wanted]):
        return False
    if not state.set(node, (*without(state.sets[node], *victims), column)):
        return False
    for number, victim in enumerate(victims):
        last = number == len(victims) - 1
        above = base - state.total if last else 0
        if not _placed(state, victim.wanted, above=max(0, above)):
            break
    return state.total > base


def _placed(state: State, wanted: int, *, above: int) -> bool:
    """Serve one replica where it is worth more than ``above``, at the best place with room."""
    return any(state.put(column) for column in state.options(wanted, above=above))
