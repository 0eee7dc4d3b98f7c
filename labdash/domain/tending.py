"""Tend the plan in force: one tick of all that keeps memory as it was planned."""

from datetime import datetime

from django.db.models import Q

from labdash.domain import carrying, keeping, returning, verifying
from labdash.domain.returning import Planner
from labdash.models import Gpu, Plan
from labdash.queries.lab import read_lab
from labdash.queries.upkeep import read_upkeep

# An amount, or what is left of one that was taken away.
_WATCHED = Q(game_bytes__isnull=False) | Q(game_on=True) | Q(game_since__isnull=False)


def tend(*, now: datetime, planner: Planner) -> None:
    """Take what steps are due. ``planner`` answers at once: it is asked where a GPU changes hands.

    Does nothing while the store is down or nobody reads reports: silence means nothing then.
    """
    if not (Plan.objects.in_force().exists() or Gpu.objects.filter(_WATCHED).exists()):
        return
    lab = read_lab(now=now)
    if not (lab.store_ok and lab.intake_ok):
        return
    if returning.watch(lab.nodes, now=now):
        lab = read_lab(now=now)
    is_new = returning.adapt(lab, planner=planner) is not None
    is_moved = carrying.carry_on(now=now) > 0
    upkeep = read_upkeep() if is_new or is_moved else lab.upkeep
    if upkeep is None:
        return
    verifying.check(upkeep, lab.nodes, now=now)
    if keeping.keep_up(upkeep, lab.nodes, now=now):
        carrying.carry_on(now=now)
