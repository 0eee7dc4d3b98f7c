"""Prove a plan the best, or make it better: one part of the score after the other."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import floor, inf
from typing import Literal

from labdash.planner.plan import Plan, Unproved
from labdash.planner.solving.assemble import plan_of
from labdash.planner.solving.bound import Sums, best_of, gap_between, sums_of
from labdash.planner.solving.budget import Budget, Spent
from labdash.planner.solving.classes import class_rows
from labdash.planner.solving.cuts import by_node
from labdash.planner.solving.improve import improve, shake
from labdash.planner.solving.layers import give_layers
from labdash.planner.solving.pool import recombine
from labdash.planner.solving.problem import Column, Group, Problem
from labdash.planner.solving.program import POINT, Build, Model, Outcome, Part
from labdash.planner.solving.rows import GIB, Row
from labdash.planner.solving.slim import slim
from labdash.planner.solving.state import Set, State, without

# Whole numbers that the solver counts are as near as that.
SLACK = 1e-3
# What is done to mend what a solution gets wrong, first for who is served, then for the value.
LEADING_EFFORT = 4000
MENDING_EFFORT = 10_000
# What is spent on emptying nodes before what was seen is put together anew, and how often.
STIRRING_EFFORT = 15_000
STIRRINGS = 3
# Of the time that is left, how much that may take, and then who is served.
STIRRING_SHARE = 0.25
LEADING_SHARE = 0.6


class Search:
    """Improves what ``state`` holds, to within ``gap``; within ``enough`` it counts as proved.

    Where a gap is left, who is served and with how many layers on the CPU is decided with the
    smallest loads alone, and a split is not hoped to come out better beside others than alone.
    """

    def __init__(
        self, problem: Problem, state: State, *, gap: float, budget: Budget, enough: float = 0.0
    ) -> None:
        self.problem = problem
        self.state = state
        self.gap = gap
        self.enough = max(gap, enough)
        self.budget = budget
        self._bounds: dict[tuple[str, int | None], int] = {}
        self.best = best_of(problem)
        self.bound = self.best.points
        self.is_near = False
        self._build: Build
        self._models: dict[bool, Model] = {}
        self._kept: list[tuple[Part, int]] = []
        self._conflicts: list[tuple[int, Sequence[Column]]] = []

    def run(self, build: Build) -> None:
        """Prove or improve each part, keeping those before it."""
        self._build = build
        if not self.is_done():
            with suppress(Spent), self.budget.share(STIRRING_SHARE):
                self._stir()
        before = self.state.total
        with suppress(Spent), self.budget.share(LEADING_SHARE):
            self._lead()
        if self.state.total > before:
            improve(self.state)
            with suppress(Spent), self.budget.share(STIRRING_SHARE):
                self._stir()
        self._keep_all()
        with suppress(Spent):
            self.is_near = self._better(self._value())
            if not self.gap:
                self._better(Part("moved", _moved, lambda group: -group.moved, 0, 1 / GIB))

    def _stir(self) -> None:
        """Search on from what is held, and put together anew what was seen, while that helps."""
        for _ in range(STIRRINGS):
            before = self.state.total
            self.budget.limits()
            shake(self.state, effort=STIRRING_EFFORT, may_go_on=self.budget.is_left)
            if self.gap:
                recombine(self.state, self._parts(), self._build, budget=self.budget)
                improve(self.state, effort=MENDING_EFFORT)
            if not self.gap or self.state.total == before:
                return

    def _parts(self) -> list[Part]:
        return [*self._leading_parts(), self._value()]

    def _lead(self) -> None:
        """Improve who is served, and with how many layers on the CPU."""
        for part in self._leading_parts():
            self._better(part)

    def _keep_all(self) -> None:
        """Let the value make nothing worse that leads, whether it was proved or not."""
        kept = [(part, part.of(self.sums())) for part in self._leading_parts()]
        if [got for _, got in kept] != [got for _, got in self._kept]:
            self._kept = kept
            self._models.clear()

    def compare(self, build: Build) -> None:
        """Bound each part by a lab whose places of a kind are one, and improve nothing."""
        rows, groups = class_rows(self.problem)
        program = build(rows)
        for part in self._parts():
            costs = {n: part.costs(group) * part.unit for n, group in enumerate(groups)}
            got, bound = part.of(self.sums()), part.most
            try:
                limits = self.budget.limits()
            except Spent:
                return
            outcome = program.maximize(costs, start=(), gaps=(0.0, 0.0), limits=limits)
            if outcome.bound < inf:
                bound = min(bound, floor(outcome.bound / part.unit + SLACK))
            self._bounds[part.name, part.priority] = bound
            if part.name == "points":
                self.bound, self.is_near = bound, part.is_near(got, bound)
            entries = {number: cost for number, cost in costs.items() if cost}
            program.add(Row(entries, upper=inf, lower=got * part.unit - SLACK))

    def is_done(self) -> bool:
        """Whether each part is as good as it could be in a lab of its own."""
        sums, best = self.sums(), self.best
        near = self._value().is_near(sums.points, best.points)
        return sums.served == best.served and sums.cpu == best.cpu and near

    def plan(self) -> Plan:
        """Write down what was found. What is proved is so among the layers that were tried."""
        unproved = self._unproved()
        gap = None if unproved else gap_between(self.sums().points, self.bound)
        give_layers(self.state)
        if unproved and unproved.part == "cpu":
            unproved = replace(unproved, got=self.sums().cpu)
        return plan_of(
            self.problem,
            self.state.sets,
            proved=gap is not None and (self.is_near or gap <= self.enough),
            gap=gap,
            out_of_time=self.budget.out_of_time,
            unproved=unproved,
        )

    def _unproved(self) -> Unproved | None:
        """Find the first part of those that lead which might be better."""
        for part in self._leading_parts():
            got = part.of(self.sums())
            bound = self._bounds.get((part.name, part.priority), part.most)
            if got < bound:
                name: Literal["served", "cpu"] = "cpu" if part.name == "cpu" else "served"
                got, bound = abs(got), abs(bound)
                return Unproved(part=name, got=got, bound=bound, priority=part.priority)
        return None

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

        def serves(group: Group) -> int:
            return int(wanted[group.wanted].priority == priority)

        return Part("served", lambda sums: sums.served[number], serves, most, priority=priority)

    def _value(self) -> Part:
        return Part("points", _points, self._hoped, self.bound, POINT, self.gap)

    def _hoped(self, group: Group) -> int:
        return group.points if self.gap else group.hope

    def _better(self, part: Part) -> bool:
        """Improve one part and tell whether it is proved to be near its best."""
        bound = part.most
        while not part.is_near(part.of(self.sums()), bound):
            outcome, chosen = self._solved(part)
            if outcome.bound < inf:
                bound = min(bound, floor(outcome.bound / part.unit + SLACK))
            self._bounds[part.name, part.priority] = bound
            if part.name == "points":
                self.bound = bound
            learned = self._learn(part, chosen)
            near = part.is_near(part.of(self.sums()), bound)
            if not near and (outcome.ended != "proved" or not learned):
                self._keep(part)
                return False
        self._keep(part)
        return True

    def _solved(self, part: Part) -> tuple[Outcome, list[Column]]:
        held = [column for columns in self.state.sets for column in columns]
        found = self._model(part).solve(part, held, self.budget.limits())
        self.budget.count(found[0])
        return found

    def _model(self, part: Part) -> Model:
        """Return the program for a part, written the first time that it is needed."""
        is_slim = bool(self.gap) and part.name in ("served", "cpu")
        if is_slim not in self._models:
            wanted = range(len(self.problem.wanted))
            columns = [c for number in wanted for c in self.problem.columns_of(number)]
            columns = slim(columns) if is_slim else columns
            made = Model(self.problem, columns, self._build, strict=not self.gap)
            for kept in self._kept:
                made.keep(*kept)
            for conflict in self._conflicts:
                made.forbid(*conflict)
            self._models[is_slim] = made
        return self._models[is_slim]

    def _keep(self, part: Part) -> None:
        """Let no later part make this one worse."""
        kept = part, part.of(self.sums())
        self._kept.append(kept)
        for model in self._models.values():
            model.keep(*kept)

    def _learn(self, part: Part, chosen: Sequence[Column]) -> bool:
        """Try a solution, and tell whether the program had to be told something about it."""
        model, told = self._model(part), False
        sets: list[Set] = [()] * len(self.problem.nodes)
        for node, columns in sorted(by_node(chosen).items()):
            if self.problem.verdict(node, columns).holds:
                told |= model.correct(node, columns, self._lost(node, columns))
                sets[node] = tuple(columns)
            else:
                model.forbid(node, columns)
                self._conflicts.append((node, columns))
                told = True
                sets[node] = self._mended(node, columns)
        if chosen:
            self._offer(sets, effort=MENDING_EFFORT if part.name == "points" else LEADING_EFFORT)
        return told

    def _lost(self, node: int, columns: Sequence[Column]) -> dict[str, int]:
        """Tell by how much splits come out worse than they might."""
        verdict = self.problem.verdict(node, columns)
        return {
            "cpu": verdict.cpu - sum(column.group.cpu for column in columns),
            "points": sum(self._hoped(column.group) for column in columns) - verdict.points,
        }

    def _mended(self, node: int, columns: Sequence[Column]) -> Set:
        """Leave out what is worth least, until the rest can be together."""
        kept = tuple(columns)
        while kept and not self.problem.verdict(node, kept).holds:
            fewer = [without(kept, each) for each in kept]
            held = [each for each in fewer if self.problem.verdict(node, each).holds]
            kept = max(held or fewer, key=lambda each: sum(c.group.worth for c in each))
        return kept

    def _offer(self, sets: Sequence[Set], *, effort: int) -> None:
        """Take a plan over where it is better than what is held."""
        state, before, total = self.state, self.state.copy_sets(), self.state.total
        state.restore(sets)
        improve(state, effort=effort)
        if state.total <= total:
            state.restore(before)


def _moved(sums: Sums) -> int:
    return -sums.moved


def _spared(sums: Sums) -> int:
    return -sums.cpu


def _spares(group: Group) -> int:
    return -group.cpu


def _points(sums: Sums) -> int:
    return sums.points
