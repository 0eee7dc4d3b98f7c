"""What no plan can exceed, told without solving anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from labdash.planner.solving.problem import Column, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a plan comes to, or the best that any can: ``points`` are millionths."""

    served: tuple[int, ...]
    cpu: int
    points: int
    moved: int


def sums_of(problem: Problem, sets: Sequence[Sequence[Column]]) -> Sums:
    """Add up what is planned, as it came out."""
    served = dict.fromkeys(problem.priorities, 0)
    for column in (column for columns in sets for column in columns):
        served[problem.wanted[column.wanted].priority] += 1
    verdicts = [problem.verdict(node, columns) for node, columns in enumerate(sets)]
    return Sums(
        served=tuple(served.values()),
        cpu=sum(each.cpu for each in verdicts),
        points=sum(each.points for each in verdicts),
        moved=sum(each.moved for each in verdicts),
    )


def best_of(problem: Problem) -> Sums:
    """Give each replica a lab of its own. ``cpu`` holds where all are served that can be."""
    served = dict.fromkeys(problem.priorities, 0)
    cpu = points = 0
    for number, deployment in enumerate(problem.wanted):
        if places := problem.places(number):
            served[deployment.priority] += places
            points += places * max(group.hope for group in problem.groups[number])
            cpu += places * min(group.cpu for group in problem.groups[number])
    return Sums(served=tuple(served.values()), cpu=cpu, points=points, moved=0)


def gap_between(points: int, bound: int) -> float:
    """Tell how far a value may be from the best, as a part of that."""
    return max(0.0, (bound - points) / bound) if bound > 0 else 0.0
