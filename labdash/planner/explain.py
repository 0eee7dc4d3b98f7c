"""A plan with its sentences: why, why not, and what has to happen."""

from dataclasses import replace

from labdash.planner.lab import Lab
from labdash.planner.moves import moves
from labdash.planner.plan import Plan
from labdash.planner.reasons import with_reasons
from labdash.planner.refusals import with_refusals
from labdash.planner.ways_out import Smaller


def explained(lab: Lab, plan: Plan, *, smaller: Smaller | None = None) -> Plan:
    """Add reasons, refusals with their ways out, and moves. Proposals are ``proposed``'s.

    ``smaller`` gives further variants of a deployment's model below its floor.
    """
    told = with_refusals(lab, with_reasons(lab, plan), smaller=smaller)
    return replace(told, moves=moves(lab, told))
