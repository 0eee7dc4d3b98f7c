"""An integer program over some columns of a lab, and what it is told beside its rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol

from labdash.planner.solving.bound import Sums
from labdash.planner.solving.cuts import Cutter
from labdash.planner.solving.problem import Column, Group, Problem
from labdash.planner.solving.relaxation import rows_of
from labdash.planner.solving.rows import Row, Rows
from labdash.planner.solving.slim import stand_in

type Ended = Literal["proved", "nodes", "time", "failed"]
type Name = Literal["served", "cpu", "points", "moved"]

# Millionths of a satisfaction are counted in thousandths, for numbers of a handy size.
POINT = 1e-3
# Of the gap that is asked for, how much the solver may leave.
SOLVED_GAP = 0.3
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


type Build = Callable[[Rows], Program]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score, greater where better. The program counts ``unit`` for one of it.

    ``most`` is what no plan exceeds. ``priority`` is that of the served ones which are counted.
    """

    name: Name
    of: Callable[[Sums], int]
    costs: Callable[[Group], int]
    most: int
    unit: float = 1.0
    gap: float = 0.0
    priority: int | None = None

    def is_near(self, got: int, bound: int) -> bool:
        """Whether nothing, or too little, is left to gain."""
        return bound - got <= self.gap * max(0, bound)

    @property
    def gaps(self) -> tuple[float, float]:
        """How much the solver may leave: relative and absolute."""
        whole = 0.4 if self.name in ("points", "moved") else 0.99
        return self.gap * SOLVED_GAP, whole * self.unit


class Model:
    """Columns are numbered as in ``columns``."""

    def __init__(
        self, problem: Problem, columns: Sequence[Column], build: Build, *, strict: bool
    ) -> None:
        self.columns = columns
        self._problem = problem
        self._numbers = {column.number: number for number, column in enumerate(columns)}
        rows = rows_of(problem, columns)
        self._losses: Mapping[tuple[str, int], int] = rows.losses
        self._cutter = Cutter(problem, columns, strict=strict)
        self._program = build(rows)

    def solve(
        self, part: Part, held: Iterable[Column], limits: tuple[float, int]
    ) -> tuple[Outcome, list[Column]]:
        """Solve for a part of the score, from what is held; return the chosen columns, too."""
        start = [self._numbers[each.number] for each in self._standing(held)]
        costs = self._costs(part)
        outcome = self._program.maximize(costs, start=start, gaps=part.gaps, limits=limits)
        solved = zip(self.columns, outcome.values, strict=False)
        return outcome, [column for column, value in solved if value > CHOSEN]

    def _standing(self, held: Iterable[Column]) -> list[Column]:
        """Find what stands here for columns that are held, nothing where one has no stand-in."""
        found = [
            column if column.number in self._numbers else stand_in(column, self.columns)
            for column in held
        ]
        return [each for each in found if each is not None] if all(found) else []

    def _costs(self, part: Part) -> dict[int, float]:
        """Tell what each variable gives to a part, and takes where a split comes out worse."""
        counted = ((number, part.costs(column.group)) for number, column in enumerate(self.columns))
        costs = {number: count * part.unit for number, count in counted if count}
        lost = {number: -1.0 for (name, _), number in self._losses.items() if name == part.name}
        return costs | lost

    def keep(self, part: Part, got: int) -> None:
        """Let no later part make this one worse."""
        self._program.add(Row(self._costs(part), upper=inf, lower=(got - 0.5) * part.unit))

    def forbid(self, node: int, columns: Sequence[Column]) -> None:
        """Forbid a set that a node does not hold."""
        for row in self._cutter.cuts(node, columns):
            self._program.add(row)

    def correct(self, node: int, columns: Sequence[Column], lost: Mapping[str, int]) -> bool:
        """Tell the program where a set comes out worse than its columns promise."""
        told = False
        for name, count in lost.items():
            if count > 0 and (name, node) in self._losses:
                size = count * (POINT if name == "points" else 1.0)
                exact = self._cutter.exactly(node, columns)
                entries = {number: value * size for number, value in exact.entries.items()}
                entries[self._losses[name, node]] = -1.0
                self._program.add(Row(entries, upper=exact.upper * size))
                told = True
        return told
