"""A plan with its sentences: why, why not, and what has to happen."""

from collections.abc import Iterator
from dataclasses import replace

from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.telling.moves import moves
from labdash.planner.telling.reasons import with_reasons
from labdash.planner.telling.refusals import with_refusals
from labdash.planner.telling.ways_out import Smaller
from labdash.planner.telling.words import all_of


def explained(lab: Lab, plan: Plan, *, smaller: Smaller | None = None) -> Plan:
    """Add reasons, refusals with their ways out, and moves. Proposals are ``proposed``'s.

    ``smaller`` gives further variants of a deployment's model below its floor.
    """
    told = with_refusals(lab, with_reasons(lab, plan), smaller=smaller)
    warnings = dict.fromkeys((*plan.warnings, *_of_nobody(lab)))
    return replace(told, moves=moves(lab, told), warnings=tuple(warnings))


def _of_nobody(lab: Lab) -> Iterator[str]:
    """Say which names to keep apart from mean nothing."""
    known = {each.name for each in lab.deployments}
    for each in lab.deployments:
        if unknown := sorted(each.keep_apart - known):
            yield f"{each.name} is kept apart from {all_of(unknown)}, which no deployment is named."
