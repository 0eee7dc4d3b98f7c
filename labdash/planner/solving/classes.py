"""A large lab by kinds of places: what a linear program bounds where columns would be millions.

GPUs that are alike count as one that is as large as all of them. What takes turns is taken to
need nothing, what several may share only their part of it, and splits over several GPUs need only
what the whole lab has.
"""

from collections import defaultdict
from dataclasses import replace

from labdash.planner.lab import Card
from labdash.planner.solving.problem import Group, Problem
from labdash.planner.solving.rows import GIB, Rows


def class_rows(problem: Problem) -> tuple[Rows, list[Group]]:
    """Write the rows over groups, each of which may be taken in parts."""
    groups = [group for some in problem.groups for group in some]
    made = Rows(())
    for group in groups:
        made.variable(float(problem.places(group.wanted)), whole=False)
    _replicas(made, problem, groups)
    _memory(made, problem, groups)
    return made, groups


def _replicas(made: Rows, problem: Problem, groups: list[Group]) -> None:
    by_wanted: dict[int, dict[int, float]] = defaultdict(dict)
    for number, group in enumerate(groups):
        by_wanted[group.wanted][number] = 1.0
    for wanted, entries in by_wanted.items():
        made.most(entries, float(problem.places(wanted)))


def _memory(made: Rows, problem: Problem, groups: list[Group]) -> None:
    """Let residents keep to what all GPUs of a kind have together."""
    kinds = {
        f"{node.name}/{card.index}": _kind(card) for node in problem.nodes for card in node.cards
    }
    rooms: dict[Card, float] = defaultdict(float)
    for device, kind in kinds.items():
        rooms[kind] += problem.rooms[device] / GIB
    taken: dict[Card, dict[int, float]] = defaultdict(dict)
    everywhere: dict[int, float] = {}
    for number, group in enumerate(groups):
        devices = group.places[0].devices
        if group.resident and group.total_bytes:
            size = group.total_bytes / GIB / _sharers(problem, group)
            everywhere[number] = size
            if group.sure and len(devices) == 1:
                taken[kinds[devices[0]]][number] = size
    for kind, entries in taken.items():
        made.most(entries, rooms[kind])
    made.most(everywhere, sum(rooms.values()))


def _kind(card: Card) -> Card:
    return replace(card, index=0, name="", doubt="")


def _sharers(problem: Problem, group: Group) -> int:
    """Count the deployments that might be served by one runner, so that each costs a part of it."""
    return len(problem.users[problem.runner(group, 0)[1]])
