"""A plan in milliseconds: all floors first, then what can be given beyond them."""

from labdash.planner.assemble import plan_of
from labdash.planner.bound import best_of, gap_between, sums_of
from labdash.planner.improve import USUAL_EFFORT, improve
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.problem import Group, Problem
from labdash.planner.state import State


def start(problem: Problem, *, effort: int = USUAL_EFFORT) -> State:
    """Place what can be placed, and improve it."""
    state = State(problem)
    for wanted in _hardest_first(problem):
        for _ in range(problem.wanted[wanted].replicas):
            _place_smallest(state, wanted)
    improve(state, effort=effort)
    return state


def _hardest_first(problem: Problem) -> list[int]:
    """Order by priority, then by what the least choice needs of one GPU."""

    def key(wanted: int) -> tuple[int, int, int, int]:
        groups = problem.groups[wanted]
        places = sum(len(group.profile.members) for group in groups)
        need = min((group.need_bytes for group in groups), default=0)
        return problem.wanted[wanted].priority, -need, places, wanted

    return sorted((n for n, groups in enumerate(problem.groups) if groups), key=key)


def _place_smallest(state: State, wanted: int) -> bool:
    groups = sorted(state.problem.groups[wanted], key=_size)
    return any(state.put(column) for group in groups for column in state.places(group))


def _size(group: Group) -> tuple[int, int, int]:
    return group.cpu, group.total_bytes, -group.worth


def quick(lab: Lab) -> Plan:
    """Plan a lab without a proof, with what can be told of the bound at once."""
    problem = Problem(lab)
    return told(problem, start(problem))


def told(problem: Problem, state: State) -> Plan:
    """Write down where a search stands. The gap is known where nothing leads but the value."""
    best, sums = best_of(problem), sums_of(problem, state.sets)
    leads = sums.served == best.served and sums.cpu == best.cpu
    gap = gap_between(sums.points, best.points) if leads else None
    return plan_of(problem, state.sets, gap=gap)
