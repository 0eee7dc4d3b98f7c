"""Prove a plan the best, or make it better: one part of the score after the other."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import floor, inf
from typing import Literal, Protocol

from labdash.planner.assemble import plan_of
from labdash.planner.bound import Sums, best_of, gap_between, sums_of
from labdash.planner.cuts import Cutter, by_node
from labdash.planner.improve import improve
from labdash.planner.plan import Plan
from labdash.planner.problem import Column, Problem
from labdash.planner.relaxation import rows_of
from labdash.planner.rows import GIB, Row, Rows
from labdash.planner.state import Set, State, without

type Ended = Literal["proved", "nodes", "time", "failed"]
type Name = Literal["served", "cpu", "points", "moved"]

# Whole numbers that the solver counts are as near as that.
SLACK = 1e-3
# Millionths of a satisfaction are counted in thousandths, for numbers of a handy size.
POINT = 1e-3
# Of the gap that is asked for, how much the solver may leave.
SOLVED_GAP = 0.3
# What is done to mend what a solution gets wrong.
MENDING_EFFORT = 30_000
CHOSEN = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """``values`` are empty where no solution was found. None can reach above ``bound``."""

    values: Sequence[float]
    bound: float
    ended: Ended
    nodes: int


class Program(Protocol):
    """An integer program that can be solved again and again."""

    def add(self, row: Row) -> None:
        """Demand one thing more."""

    def maximize(
        self,
        costs: Mapping[int, float],
        *,
        start: Iterable[int],
        gaps: tuple[float, float],
        limits: tuple[float, int],
    ) -> Outcome:
        """Solve, from columns that are known to go together.

        ``gaps`` are relative and absolute, ``limits`` seconds and nodes.
        """


class Spent(Exception):  # noqa: N818 - no error: the search ends
    """The search has used up its time or its nodes."""


@dataclass(slots=True)
class Budget:
    """What is left of seconds and of nodes of the search tree. ``clock`` counts seconds used."""

    limit_s: float
    nodes: int
    clock: Callable[[], float]
    out_of_time: bool = False

    def limits(self) -> tuple[float, int]:
        """Tell what the next run may use. Raises ``Spent``."""
        left = self.limit_s - self.clock()
        self.out_of_time = left <= 0
        if self.out_of_time or self.nodes <= 0:
            raise Spent
        return left, self.nodes


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score, greater where better. The program counts ``unit`` for one of it.

    ``most`` is what no plan exceeds.
    """

    name: Name
    of: Callable[[Sums], int]
    costs: Callable[[Column], int]
    most: int
    unit: float = 1.0
    gap: float = 0.0

    def is_near(self, got: int, bound: int) -> bool:
        """Whether nothing, or too little, is left to gain."""
        return bound - got <= self.gap * max(0, bound)

    @property
    def gaps(self) -> tuple[float, float]:
        """How much the solver may leave: relative and absolute."""
        whole = 0.4 if self.name in ("points", "moved") else 0.99
        return self.gap * SOLVED_GAP, whole * self.unit


class Search:
    """Improves what ``state`` holds."""

    def __init__(self, problem: Problem, state: State, *, gap: float, budget: Budget) -> None:
        self.problem = problem
        self.state = state
        self.gap = gap
        self.budget = budget
        self.leading = False
        self.best = best_of(problem)
        self.bound = self.best.points
        self.is_near = False
        self._build: Callable[[Rows], Program]
        self._program: Program | None = None
        self._columns: list[Column] = []
        self._numbers: dict[int, int] = {}
        self._losses: Mapping[tuple[str, int], int] = {}
        self._kept: list[tuple[Part, int]] = []
        self._cutter: Cutter

    def run(self, build: Callable[[Rows], Program]) -> None:
        """Prove or improve each part, keeping those before it."""
        self._build = build
        with suppress(Spent):
            proved = [self._better(part) for part in self._leading_parts()]
            self.leading = all(proved)
        with suppress(Spent):
            self.is_near = self._better(self._value())
            if not self.gap:
                self._better(Part("moved", _moved, lambda each: -each.group.moved, 0, 1 / GIB))

    def plan(self) -> Plan:
        """Write down what was found."""
        return plan_of(
            self.problem,
            self.state.sets,
            proved=self.leading and self.is_near,
            gap=gap_between(self.sums().points, self.bound) if self.leading else None,
            out_of_time=self.budget.out_of_time,
        )

    def sums(self) -> Sums:
        """Add up what is planned now."""
        return sums_of(self.problem, self.state.sets)

    def _leading_parts(self) -> Iterator[Part]:
        for number, most in enumerate(self.best.served):
            yield self._serving(number, most)
        all_served = self.sums().served == self.best.served
        yield Part("cpu", _spared, _spares, -self.best.cpu if all_served else 0)

    def _serving(self, number: int, most: int) -> Part:
        priority, wanted = self.problem.priorities[number], self.problem.wanted

        def serves(column: Column) -> int:
            return int(wanted[column.wanted].priority == priority)

        return Part("served", lambda sums: sums.served[number], serves, most)

    def _value(self) -> Part:
        return Part("points", _points, self._hoped, self.bound, POINT, self.gap)

    def _hoped(self, column: Column) -> int:
        """Tell what a column may come to.

        Where a gap is left, a split is not hoped to come out better beside others than alone.
        """
        return column.group.points if self.gap else column.group.hope

    def _better(self, part: Part) -> bool:
        """Improve one part and tell whether it is proved to be near its best."""
        bound = part.most
        while not part.is_near(part.of(self.sums()), bound):
            outcome = self._solved(part)
            if outcome.bound < inf:
                bound = min(bound, floor(outcome.bound / part.unit + SLACK))
            if part.name == "points":
                self.bound = bound
            learned = self._learn(outcome)
            near = part.is_near(part.of(self.sums()), bound)
            if not near and (outcome.ended != "proved" or not learned):
                self.budget.out_of_time |= outcome.ended == "time"
                self._keep(part)
                return False
        self._keep(part)
        return True

    def _solved(self, part: Part) -> Outcome:
        program = self._ready()
        start = [self._numbers[c.number] for columns in self.state.sets for c in columns]
        outcome = program.maximize(
            self._costs(part), start=start, gaps=part.gaps, limits=self.budget.limits()
        )
        self.budget.nodes -= max(1, outcome.nodes)
        return outcome

    def _ready(self) -> Program:
        """Write the rows the first time that they are needed."""
        if self._program is None:
            wanted = range(len(self.problem.wanted))
            self._columns = [c for number in wanted for c in self.problem.columns_of(number)]
            self._numbers = {c.number: number for number, c in enumerate(self._columns)}
            rows = rows_of(self.problem, self._columns)
            self._losses = rows.losses
            self._cutter = Cutter(self.problem, self._columns, strict=not self.gap)
            self._program = self._build(rows)
            for part, got in self._kept:
                self._program.add(self._least(part, got))
        return self._program

    def _costs(self, part: Part) -> dict[int, float]:
        """Tell what each variable gives to a part, and takes where a split comes out worse."""
        counted = ((number, part.costs(column)) for number, column in enumerate(self._columns))
        costs = {number: count * part.unit for number, count in counted if count}
        lost = {number: -1.0 for (name, _), number in self._losses.items() if name == part.name}
        return costs | lost

    def _keep(self, part: Part) -> None:
        """Let no later part make this one worse."""
        got = part.of(self.sums())
        self._kept.append((part, got))
        if self._program is not None:
            self._program.add(self._least(part, got))

    def _least(self, part: Part, got: int) -> Row:
        return Row(self._costs(part), upper=inf, lower=(got - 0.5) * part.unit)

    def _learn(self, outcome: Outcome) -> bool:
        """Try a solution, and tell whether the program had to be told something about it."""
        solved = zip(self._columns, outcome.values, strict=False)
        chosen = by_node(column for column, value in solved if value > CHOSEN)
        told = False
        sets: list[Set] = [()] * len(self.problem.nodes)
        for node, columns in sorted(chosen.items()):
            if self.problem.verdict(node, columns).holds:
                told |= self._correct(node, columns)
                sets[node] = tuple(columns)
            else:
                self._ready().add(self._cutter.cut(node, columns))
                told = True
                sets[node] = self._mended(node, columns)
        if chosen:
            self._offer(sets, mended=told)
        return told

    def _correct(self, node: int, columns: Sequence[Column]) -> bool:
        """Tell the program where splits come out worse than they might."""
        verdict = self.problem.verdict(node, columns)
        worse = {
            "cpu": verdict.cpu - sum(column.group.cpu for column in columns),
            "points": sum(map(self._hoped, columns)) - verdict.points,
        }
        for name, lost in worse.items():
            if lost > 0 and (name, node) in self._losses:
                unit = POINT if name == "points" else 1.0
                exact = self._cutter.exactly(node, columns)
                entries = {number: value * lost * unit for number, value in exact.entries.items()}
                entries[self._losses[name, node]] = -1.0
                self._ready().add(Row(entries, upper=exact.upper * lost * unit))
        return any(lost > 0 for lost in worse.values())

    def _mended(self, node: int, columns: Sequence[Column]) -> Set:
        """Leave out what is worth least, until the rest can be together."""
        kept = tuple(columns)
        while kept and not self.problem.verdict(node, kept).holds:
            fewer = [without(kept, each) for each in kept]
            held = [each for each in fewer if self.problem.verdict(node, each).holds]
            kept = max(held or fewer, key=lambda each: sum(c.group.worth for c in each))
        return kept

    def _offer(self, sets: Sequence[Set], *, mended: bool) -> None:
        """Take a plan over where it is better than what is held."""
        state, before, total = self.state, self.state.copy_sets(), self.state.total
        state.restore(sets)
        if mended:
            improve(state, effort=MENDING_EFFORT)
        if state.total <= total:
            state.restore(before)


def _moved(sums: Sums) -> int:
    return -sums.moved


def _spared(sums: Sums) -> int:
    return -sums.cpu


def _spares(column: Column) -> int:
    return -column.group.cpu


def _points(sums: Sums) -> int:
    return sums.points
