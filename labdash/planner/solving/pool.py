"""The best of all that was seen to hold: one set of columns for each node.

A search looks at thousands of sets and keeps one of each node. Of those that serve the same
deployments on a node only the best can matter, and the few that are left make an integer program
whose relaxation is nearly whole.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import inf

from labdash.planner.solving.bound import Sums
from labdash.planner.solving.budget import Budget, Spent
from labdash.planner.solving.problem import Held
from labdash.planner.solving.program import CHOSEN, Build, Outcome, Part
from labdash.planner.solving.rows import Row, Rows
from labdash.planner.solving.state import Set, State


def recombine(state: State, parts: Iterable[Part], build: Build, *, budget: Budget) -> None:
    """Take over the best plan that can be made of what was seen, one part after the other."""
    seen = _worthwhile(state)
    program = build(_rows(state, seen))
    chosen = _now(state, seen)
    for part in parts:
        values = _values(state, part, seen)
        got = sum(values.get(number, 0.0) for number in chosen)
        if got < part.most * part.unit:
            gaps = 0.0, part.gaps[1]
            with suppress(Spent):
                limits = budget.limits()
                outcome = program.maximize(values, start=chosen, gaps=gaps, limits=limits)
                budget.count(outcome)
                chosen = _chosen(outcome) or chosen
            got = sum(values.get(number, 0.0) for number in chosen)
        program.add(Row(values, upper=inf, lower=got - part.unit / 2))
    _take(state, [seen[number] for number in chosen])


def _chosen(outcome: Outcome) -> list[int]:
    """Read a solution; what HiGHS itself does not stand by is none."""
    values = () if outcome.ended == "failed" else outcome.values
    return [number for number, value in enumerate(values) if value > CHOSEN]


def _worthwhile(state: State) -> list[Held]:
    """Of sets that serve the same on a node, keep the one that is worth most."""
    best: dict[tuple[int, tuple[int, ...]], Held] = {}
    for each in state.problem.held():
        key = _key(each.node, each.columns)
        rival = best.get(key)
        if rival is None or each.verdict.worth > rival.verdict.worth:
            best[key] = each
    return [each for each in best.values() if each.columns]


def _now(state: State, seen: Sequence[Held]) -> list[int]:
    """Find what the state holds, or what serves the same better."""
    numbers = {_key(each.node, each.columns): number for number, each in enumerate(seen)}
    held = (_key(node, columns) for node, columns in enumerate(state.sets) if columns)
    return [numbers[key] for key in held]


def _key(node: int, columns: Set) -> tuple[int, tuple[int, ...]]:
    return node, tuple(sorted(column.wanted for column in columns))


def _rows(state: State, seen: Sequence[Held]) -> Rows:
    """Let each node hold one set, and each deployment be served as often as it is wanted."""
    made = Rows(seen)
    nodes: dict[int, dict[int, float]] = {}
    users: dict[int, dict[int, float]] = {}
    for each in seen:
        number = made.variable(1.0, whole=True)
        nodes.setdefault(each.node, {})[number] = 1.0
        for wanted, count in Counter(column.wanted for column in each.columns).items():
            users.setdefault(wanted, {})[number] = float(count)
    for entries in nodes.values():
        made.most(entries, 1.0)
    for wanted, entries in users.items():
        made.most(entries, float(state.problem.wanted[wanted].replicas))
    return made


def _values(state: State, part: Part, seen: Sequence[Held]) -> dict[int, float]:
    """Tell what each set gives to a part of the score."""
    values = {n: part.of(_sums(state, each)) * part.unit for n, each in enumerate(seen)}
    return {number: value for number, value in values.items() if value}


def _sums(state: State, each: Held) -> Sums:
    served = Counter(state.problem.wanted[column.wanted].priority for column in each.columns)
    return Sums(
        served=tuple(served[priority] for priority in state.problem.priorities),
        cpu=each.verdict.cpu,
        points=each.verdict.points,
        moved=each.verdict.moved,
    )


def _take(state: State, chosen: Iterable[Held]) -> None:
    before, total = state.copy_sets(), state.total
    sets: list[Set] = [()] * len(before)
    for each in chosen:
        sets[each.node] = each.columns
    state.restore(sets)
    if state.total < total:
        state.restore(before)
