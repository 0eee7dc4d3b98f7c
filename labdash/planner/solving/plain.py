"""What a node plainly does not hold, told by sums, without loading anything."""

from collections.abc import Collection

from labdash.planner.loading import way_of
from labdash.planner.solving.problem import Column, Problem


def may_hold(problem: Problem, node: int, columns: Collection[Column]) -> bool:
    """Whether files, runners and sums of bytes let columns be together.

    Splits that the engine decides are taken as in an empty lab, so that a few sets which would come
    out smaller and hold are lost to the local search; the program still finds them.
    """
    runners: dict[tuple[str, str], Column] = {}
    for column in sorted(columns, key=_is_guest):
        first = runners.setdefault(column.runner, column)
        if first is not column and way_of(first.choice) != way_of(column.choice):
            return False
    firsts = runners.values()
    return _is_stored(problem, node, firsts) and _is_housed(problem, firsts)


def _is_guest(column: Column) -> bool:
    return not column.group.resident


def _is_stored(problem: Problem, node: int, columns: Collection[Column]) -> bool:
    """Whether the disk takes what is still to be fetched, each file once."""
    free = problem.nodes[node].disk_free_bytes
    if free is None:
        return True
    files = {column.group.file: column.group.download_bytes for column in columns}
    return sum(files.values()) <= free


def _is_housed(problem: Problem, columns: Collection[Column]) -> bool:
    """Add up what each GPU would hold, splits taken as they are in an empty lab."""
    staying: dict[str, int] = {}
    turns: dict[tuple[str, str], int] = {}
    for column in columns:
        for device, size in column.loads:
            if column.group.resident:
                staying[device] = staying.get(device, 0) + size
            else:
                turn = (device, column.choice.instance)
                turns[turn] = max(turns.get(turn, 0), size)
    for (device, _), size in turns.items():
        staying[device] = staying.get(device, 0) + size
    return all(size <= problem.rooms[device] for device, size in staying.items())
