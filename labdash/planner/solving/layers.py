"""More layers on the GPU for what is there in part, as far as its neighbours leave room."""

from labdash.planner.placing.layers import most
from labdash.planner.solving.problem import Column
from labdash.planner.solving.state import State, without


def give_layers(state: State) -> None:
    """Raise the numbers of layers that are said, which a search tries in quarters only."""
    for columns in state.copy_sets():
        for column in columns:
            if column.choice.form == "partial" and column.choice.num_gpu is not None:
                _give(state, column, column.choice.num_gpu)


def _give(state: State, column: Column, count: int) -> None:
    others = without(state.sets[column.node], column)

    def of(more: int) -> Column | None:
        found = state.problem.with_layers(column, count + more)
        verdict = found and state.problem.verdict(column.node, (*others, found))
        better = verdict and verdict.holds and verdict.worth > state.worths[column.node]
        return found if better else None

    found = of(most(lambda more: of(more) is not None, column.choice.cpu_layers - 1))
    if found is not None:
        state.set(column.node, (*others, found))
