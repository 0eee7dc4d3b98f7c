"""A plan without a search: all floors first, then what can be given beyond them."""

from labdash.planner.lab import Lab
from labdash.planner.plan import Choice, Plan
from labdash.planner.solving.assemble import plan_of
from labdash.planner.solving.bound import best_of, gap_between, sums_of
from labdash.planner.solving.improve import improve
from labdash.planner.solving.layers import give_layers, with_layers
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.state import State


def start(problem: Problem, *, like: Plan | None = None) -> State:
    """Place what can be placed, ``like`` another plan where that still holds, and improve it."""
    state = State(problem)
    if like is not None:
        _resume(state, like)
    for wanted in _hardest_first(problem):
        while state.open_replicas(wanted) and _place(state, wanted):
            pass
    improve(state)
    return state


def _hardest_first(problem: Problem) -> list[int]:
    """Order by priority, then by what the least choice needs of one GPU."""

    def key(wanted: int) -> tuple[int, int, int, int]:
        groups = problem.groups[wanted]
        places = sum(len(group.profile.members) for group in groups)
        need = min((group.need_bytes for group in groups), default=0)
        return problem.wanted[wanted].priority, -need, places, wanted

    return sorted((n for n, groups in enumerate(problem.groups) if groups), key=key)


def _resume(state: State, plan: Plan) -> None:
    """Take over what a plan places, by name: whole nodes, or what of them still holds."""
    names = {each.name: number for number, each in enumerate(state.problem.wanted)}
    sets: dict[int, list[Column]] = {}
    for placement in plan.placements:
        wanted = names.get(placement.deployment.name)
        column = None if wanted is None else _like(state.problem, wanted, placement.choice)
        if column is not None and placement.replica < state.problem.wanted[column.wanted].replicas:
            sets.setdefault(column.node, []).append(column)
    for node, columns in sorted(sets.items()):
        if state.problem.verdict(node, columns).holds:
            state.set(node, tuple(columns))
        else:
            for column in columns:
                state.put(column)


def _like(problem: Problem, wanted: int, choice: Choice) -> Column | None:
    """Find a choice among the columns; a number of layers that none has is made one."""
    alike = [each for each in problem.columns_of(wanted) if _serves(each.choice, choice)]
    seen = _look(choice)
    exact = next((each for each in alike if _look(each.choice) == seen), None)
    if exact or choice.form != "partial" or choice.num_gpu is None:
        return exact
    for each in alike:
        made = with_layers(problem, each, choice.num_gpu)
        if found := next((one for one in made if _look(one.choice) == seen), None):
            return found
    return next((each for each in alike if each.choice.form == "cpu"), None)


def _serves(one: Choice, other: Choice) -> bool:
    same = (one.instance, one.variant.name, one.ctx)
    return same == (other.instance, other.variant.name, other.ctx) and one.form in {
        other.form,
        "cpu",
    }


def _look(choice: Choice) -> tuple[object, ...]:
    return (
        choice.instance,
        choice.variant.name,
        choice.ctx,
        choice.form,
        choice.main_gpu,
        choice.num_gpu,
    )


def _place(state: State, wanted: int) -> bool:
    """Serve one replica: by a runner that is there, or else with the least that will do."""
    return any(map(state.put, state.sharing(wanted))) or any(map(state.put, state.smallest(wanted)))


def quick(lab: Lab, *, like: Plan | None = None) -> Plan:
    """Plan a lab without a proof, with what can be told of the bound at once.

    ``like`` is a plan to begin with, as far as it still holds.
    """
    problem = Problem(lab)
    return told(problem, start(problem, like=like))


def told(problem: Problem, state: State) -> Plan:
    """Write down where a search stands. The gap is known where nothing leads but the value."""
    best, sums = best_of(problem), sums_of(problem, state.sets)
    give_layers(state)
    leads = sums.served == best.served and sums.cpu == best.cpu
    gap = gap_between(sums.points, best.points) if leads else None
    return plan_of(problem, state.sets, gap=gap)
