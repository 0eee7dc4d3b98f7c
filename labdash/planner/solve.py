"""The whole lab at once: an integer program in HiGHS that improves a plan and bounds it.

Rows are a relaxation. What its solution puts on a node is settled; what a node does not hold is
forbidden, and the program is solved again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

import highspy
import numpy as np

from labdash.planner import greedy
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.solving.budget import Budget
from labdash.planner.solving.problem import Problem
from labdash.planner.solving.program import Ended, Outcome
from labdash.planner.solving.rows import Row, Rows
from labdash.planner.solving.search import Search

type Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
type Integers = np.ndarray[tuple[int], np.dtype[np.int32]]

USUAL_GAP = 0.01
USUAL_LIMIT_S = 10.0
USUAL_NODES = 20_000
OPTIONS: Mapping[str, bool | int | float | str] = {
    "threads": 1,
    "parallel": "off",
    "random_seed": 0,
    "mip_feasibility_tolerance": 1e-7,
}
# A lab with more columns is bounded by kinds of places, and not improved further.
MOST_COLUMNS = 60_000
# With so few the very best is found in a second or two: small labs are planned to the end.
FEW_COLUMNS = 1000
# By how much a solution's objective may be off before it is not believed, as a part of it.
DOUBT = 1e-6


class Program:
    """Rows for HiGHS. Each objective gets a solver of its own, so that none has a past."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.seconds = 0.0

    def add(self, row: Row) -> None:
        """Demand one thing more."""
        self._rows.rows.append(row)

    def maximize(
        self,
        costs: Mapping[int, float],
        *,
        start: Iterable[int],
        gaps: tuple[float, float],
        limits: tuple[float, int],
    ) -> Outcome:
        """Solve. ``start`` are columns that are known to go together.

        ``gaps`` are relative and absolute, ``limits`` seconds and nodes.
        """
        every = np.zeros(len(self._rows.tops))
        numbers, values = _sparse(costs)
        every[numbers] = -values
        model = _model(self._rows, every)
        first = self._rows.completed(frozenset(start)) if any(self._rows.whole) else ()
        found = self._run(model, gaps, limits, first)
        # HiGHS 1.16 sometimes loses what its presolve fixes where it is given a start.
        return found if found.ended != "failed" else self._run(model, gaps, limits, ())

    def _run(
        self,
        model: highspy.HighsLp,
        gaps: tuple[float, float],
        limits: tuple[float, int],
        start: Sequence[float],
    ) -> Outcome:
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.silent()
        given: dict[str, bool | int | float | str] = {
            **OPTIONS,
            "mip_rel_gap": gaps[0],
            "mip_abs_gap": gaps[1],
            "time_limit": max(0.0, limits[0]),
            "mip_max_nodes": limits[1],
        }
        for name, value in given.items():
            solver.setOptionValue(name, value)
        solver.passModel(model)
        if start:
            solver.setSolution(len(start), np.arange(len(start), dtype=np.int32), np.array(start))
        solver.run()
        self.seconds += solver.getRunTime()
        return _outcome(solver, np.array(model.col_cost_))


def _outcome(solver: highspy.Highs, costs: Floats) -> Outcome:
    info, kinds = solver.getInfo(), solver.getLp().integrality_
    ends: dict[object, Ended] = {
        highspy.HighsModelStatus.kOptimal: "proved",
        highspy.HighsModelStatus.kTimeLimit: "time",
        highspy.HighsModelStatus.kSolutionLimit: "nodes",
    }
    ended = ends.get(solver.getModelStatus(), "failed")
    nodes = max(0, info.mip_node_count)
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Outcome((), -info.mip_dual_bound if ended != "failed" else inf, ended, nodes)
    values = np.array(solver.getSolution().col_value)
    told = float(costs @ values)
    if ended == "failed" or abs(told - info.objective_function_value) > DOUBT * max(1, abs(told)):
        return Outcome(values.tolist(), inf, "failed", nodes)
    bound = -info.mip_dual_bound if highspy.HighsVarType.kInteger in kinds else -told
    return Outcome(values.tolist(), bound, ended, nodes)


def _model(rows: Rows, costs: Floats) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(rows.tops), len(rows.rows)
    model.col_cost_ = costs
    model.col_lower_ = np.zeros(len(rows.tops))
    model.col_upper_ = np.array(rows.tops)
    kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
    model.integrality_ = [kinds[whole] for whole in rows.whole]
    model.row_lower_ = np.array([row.lower for row in rows.rows])
    model.row_upper_ = np.array([row.upper for row in rows.rows])
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    sizes = [len(row.entries) for row in rows.rows]
    matrix.start_ = np.concatenate(([0], np.cumsum(sizes, dtype=np.int32))).astype(np.int32)
    matrix.index_ = np.array([key for row in rows.rows for key in row.entries], dtype=np.int32)
    matrix.value_ = np.array([value for row in rows.rows for value in row.entries.values()])
    return model


def _sparse(entries: Mapping[int, float]) -> tuple[Integers, Floats]:
    numbers = np.fromiter(entries, dtype=np.int32, count=len(entries))
    return numbers, np.fromiter(entries.values(), dtype=np.float64, count=len(entries))


def solve(  # noqa: PLR0913 - the planner's one door
    lab: Lab,
    *,
    exact: bool = True,
    gap: float = USUAL_GAP,
    limit_s: float = USUAL_LIMIT_S,
    node_limit: int = USUAL_NODES,
    start: Plan | None = None,
    clock: Callable[[], float] | None = None,
) -> Plan:
    """Plan a lab: at once where not ``exact``, else until the value is within ``gap`` of the best.

    Of a small lab the very best is sought. ``start`` is a plan to begin with, as far as it still
    holds. ``clock`` tells seconds; without one only HiGHS's own are counted. ``limit_s`` is of the
    search: the ways to serve each deployment are reckoned before it.
    """
    problem = Problem(lab)
    state = greedy.start(problem, like=start)
    if not exact:
        return greedy.told(problem, state)
    began = clock() if clock else 0.0
    programs: list[Program] = []

    def program(rows: Rows) -> Program:
        programs.append(Program(rows))
        return programs[-1]

    def used() -> float:
        return clock() - began if clock else sum(each.seconds for each in programs)

    aim = 0.0 if problem.column_count <= FEW_COLUMNS else gap
    budget = Budget(limit_s, node_limit, used)
    search = Search(problem, state, gap=aim, budget=budget, enough=gap)
    if problem.column_count > MOST_COLUMNS:
        search.compare(program)
    else:
        search.run(program)
    return search.plan()
