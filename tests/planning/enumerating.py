"""The best score of a small lab, found by trying everything: no part of the solver is used.

Every node is filled in every way that ``settle`` lets it be; of those that serve the same
deployments the best is kept, and nodes are put together.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product
from math import prod

from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.loading import Pick, Settled, settle
from labdash.planner.placement import choices
from labdash.planner.plan import Choice
from labdash.planner.score import PARTS, satisfaction, spares_cpu

# Layers on the CPU, points and moved bytes, each negated where less is better.
type Rest = tuple[int, int, int]
# How many replicas of each deployment are served.
type Served = tuple[int, ...]


class TooMuchError(Exception):
    """A lab has too many ways to be filled."""


def best_score(lab: Lab, *, most: int) -> tuple[float, ...]:
    """Return ``Score.key`` of the best plan.

    Raises ``TooMuchError`` where a node can be filled in more than ``most`` ways.
    """
    wanted = lab.deployments
    options = [choices(lab, each) for each in wanted]
    fastest = [max((c.tokens_per_s or 0.0 for c in some), default=0.0) or None for some in options]
    best: dict[Served, Rest] = {(0,) * len(wanted): (0, 0, 0)}
    for node in lab.nodes:
        here = _ways(node, wanted, options, fastest, most)
        best = _joined(best, here, [each.replicas for each in wanted])
    return max(_key(wanted, served, rest) for served, rest in best.items())


def _key(wanted: tuple[Deployment, ...], served: Served, rest: Rest) -> tuple[float, ...]:
    counts: Counter[int] = Counter()
    for deployment, count in zip(wanted, served, strict=True):
        counts[deployment.priority] += count
    priorities = sorted({each.priority for each in wanted})
    cpu, points, moved = rest
    return (*(counts[each] for each in priorities), cpu, points / PARTS, moved)


def _joined(
    one: dict[Served, Rest], other: dict[Served, Rest], most: list[int]
) -> dict[Served, Rest]:
    found: dict[Served, Rest] = {}
    for (a, rest_a), (b, rest_b) in product(one.items(), other.items()):
        served = tuple(x + y for x, y in zip(a, b, strict=True))
        if all(count <= limit for count, limit in zip(served, most, strict=True)):
            rest = (rest_a[0] + rest_b[0], rest_a[1] + rest_b[1], rest_a[2] + rest_b[2])
            found[served] = max(rest, found.get(served, rest))
    return found


def _ways(
    node: Node,
    wanted: tuple[Deployment, ...],
    options: list[tuple[Choice, ...]],
    fastest: list[float | None],
    most: int,
) -> dict[Served, Rest]:
    """Fill one node in all ways."""
    sets = [
        list(_sets([choice for choice in some if choice.node == node.name], deployment.replicas))
        for deployment, some in zip(wanted, options, strict=True)
    ]
    if prod(map(len, sets)) > most:
        raise TooMuchError
    found: dict[Served, Rest] = {}
    for ways in product(*sets):
        rest = _settled(node, wanted, ways, fastest)
        if rest is not None:
            served = tuple(len(way) for way in ways)
            found[served] = max(rest, found.get(served, rest))
    return found


def _sets(here: list[Choice], replicas: int) -> Iterator[tuple[Choice, ...]]:
    """Yield no choice, one, or several on instances of their own."""
    for count in range(replicas + 1):
        for some in combinations(here, count):
            if len({choice.instance for choice in some}) == count:
                yield some


def _settled(
    node: Node,
    wanted: tuple[Deployment, ...],
    ways: tuple[tuple[Choice, ...], ...],
    fastest: list[float | None],
) -> Rest | None:
    picks = [
        Pick(deployment=deployment, replica=replica, choice=choice)
        for deployment, way in zip(wanted, ways, strict=True)
        for replica, choice in enumerate(way)
    ]
    outcome = settle(node, picks)
    if not isinstance(outcome, Settled):
        return None
    cpu = points = moved = 0
    for load in outcome.loads:
        deployment, choice = load.pick.deployment, load.choice
        number = wanted.index(deployment)
        cpu -= choice.cpu_layers if spares_cpu(deployment) else 0
        points += satisfaction(deployment, choice, fastest=fastest[number])
        moved -= choice.download_bytes + choice.moved_bytes
    return cpu, points, moved
