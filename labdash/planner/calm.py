"""A plan that leaves what runs where it is, as long as moving it would gain next to nothing."""

from collections.abc import Mapping
from dataclasses import replace

from labdash.planner import greedy
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan, Score
from labdash.planner.score import score
from labdash.planner.solving.problem import Problem
from labdash.planner.staying import Stay, narrowed

# The gap that a search for the best is content with.
LITTLE = 0.01


def calm(lab: Lab, stays: Mapping[str, Stay], best: Plan) -> Plan | None:
    """Keep what stays, and plan the rest around it; None where ``best`` is better by far.

    It serves as many as the best does, with as few layers on the CPU, and is worth as much but
    for one percent.
    """
    made = greedy.quick(narrowed(lab, stays))
    known = {each.name: each for each in lab.deployments}
    placements = tuple(replace(p, deployment=known[p.deployment.name]) for p in made.placements)
    problem = Problem(lab)
    chosen = [
        (each.deployment, each.choice, problem.points(each.deployment, each.choice))
        for each in placements
    ]
    reached = score(lab.deployments, chosen)
    if not _is_enough(reached, best.score):
        return None
    # What serves more than the best that was found was bounded by nobody.
    alike = (reached.served, reached.cpu_layers) == (best.score.served, best.score.cpu_layers)
    return replace(
        made,
        score=reached,
        placements=placements,
        refusals=tuple(replace(r, deployment=known[r.deployment.name]) for r in made.refusals),
        gap=_gap(reached.value, best) if alike else None,
        status=best.status if alike else "feasible",
        unproved=best.unproved if alike else None,
        limited_by=best.limited_by,
        proposals=best.proposals,
    )


def _is_enough(reached: Score, best: Score) -> bool:
    if (reached.served, -reached.cpu_layers) < (best.served, -best.cpu_layers):
        return False
    is_more = (reached.served, reached.cpu_layers) != (best.served, best.cpu_layers)
    return is_more or reached.value >= (1 - LITTLE) * best.value


def _gap(value: float, best: Plan) -> float | None:
    """Tell how far a value is from the bound that was found for the best."""
    if best.gap is None or best.gap >= 1:
        return best.gap
    bound = best.score.value / (1 - best.gap)
    return max(0.0, 1 - value / bound) if bound else 0.0
