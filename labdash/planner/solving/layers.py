"""More layers on the GPU for what is on the CPU, as far as its neighbours leave room."""

from collections.abc import Iterator
from dataclasses import replace

from labdash.planner.placing import forms
from labdash.planner.placing.layers import most
from labdash.planner.placing.outcome import Miss, Trial
from labdash.planner.placing.seats import Member, Seat, seats_at
from labdash.planner.placing.stamping import stamped
from labdash.planner.placing.ways import is_admitted
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.state import State, without


def give_layers(state: State) -> None:
    """Raise the numbers of layers that are said, which a search tries in quarters only."""
    for columns in state.copy_sets():
        for column in columns:
            choice = column.choice
            if choice.form == "cpu" or (choice.form == "partial" and choice.num_gpu is not None):
                _give(state, column, choice.num_gpu or 0)


def _give(state: State, column: Column, count: int) -> None:
    others = without(state.sets[column.node], column)
    tried: dict[int, Column | None] = {0: None}

    def of(more: int) -> Column | None:
        if more not in tried:
            found = with_layers(state.problem, column, count + more)
            tried[more] = next((each for each in found if _is_better(state, each, others)), None)
        return tried[more]

    found = of(most(lambda more: of(more) is not None, column.choice.cpu_layers - 1))
    if found is not None:
        state.set(column.node, (*others, found))


def _is_better(state: State, column: Column, others: tuple[Column, ...]) -> bool:
    verdict = state.problem.verdict(column.node, (*others, column))
    return verdict.holds and verdict.worth > state.worths[column.node]


def with_layers(problem: Problem, column: Column, count: int) -> list[Column]:
    """Return a column with so many layers on a GPU of its server, one for each that takes them.

    Of what is there in part that is its own GPU.
    """
    places = _places(problem, column)
    found = (_partial(problem, column, count, *place) for place in places)
    return [each for each in found if each is not None]


def _places(problem: Problem, column: Column) -> Iterator[tuple[Member, Seat]]:
    choice, node = column.choice, problem.nodes[column.node]
    own = column.group.profile.members[column.position]
    instance = next(each for each in node.instances if each.name == choice.instance)
    for member, seat in seats_at(node, instance).items():
        if len(member.gpus) != 1 or seat.joined or (choice.form == "partial" and member != own):
            continue
        if is_admitted(problem.lab, problem.wanted[column.wanted], member):
            yield member, seat


def _partial(
    problem: Problem, column: Column, count: int, member: Member, seat: Seat
) -> Column | None:
    choice = column.choice
    outcome = forms.with_layers(Trial(choice.variant, choice.ctx, seat), count)
    if isinstance(outcome, Miss):
        return None
    made = stamped(outcome, seat, member, (choice.download_bytes, choice.moved_bytes))
    profile = replace(
        column.group.profile,
        choice=made,
        members=(member,),
        outcome=outcome,
        seat=seat,
        satisfaction=problem.points(problem.wanted[column.wanted], made),
    )
    return problem.column_of(column.wanted, profile)
