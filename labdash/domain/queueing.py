"""The order in which an instance takes its pulls, as people change it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import transaction

from labdash.domain.errors import LabDashError
from labdash.domain.reconciliation import carry_on
from labdash.models import PullJob


@dataclass(frozen=True, kw_only=True)
class Place:
    """A job's place: by ``priority`` (1 is first), then by ``rank``."""

    id: int
    priority: int
    rank: int = 0


def move_pull(*, job: PullJob, to: int) -> int:
    """Put a waiting job at a place of its instance's queue, 0 being the first; return the place.

    Raises ``LabDashError`` for one that waits no more.
    """
    with transaction.atomic():
        active = PullJob.objects.active().filter(instance=job.instance_id)
        rows = active.filter(sent_at=None).in_order()
        waiting = list(rows.select_for_update())
        places = [Place(id=row.pk, priority=row.priority, rank=row.rank) for row in waiting]
        if job.pk not in {place.id for place in places}:
            raise LabDashError(f"{job} waits no more, so it has no place in the queue.")
        moved = moved_to(places, job.pk, to)
        for new in moved:
            if new not in places:
                rows.filter(pk=new.id).update(priority=new.priority, rank=new.rank)
        # What runs stays before them, should it be paused.
        active.filter(sent_at__isnull=False).update(rank=-1 - len(moved))
        transaction.on_commit(lambda: carry_on(instance=job.instance))
    return [place.id for place in moved].index(job.pk)


def moved_to(places: Sequence[Place], moved: int, to: int) -> list[Place]:
    """Return all places with one job moved. It takes the priority of those it comes between.

    Ranks are below 0, so that what is asked for later comes last.
    """
    left = [place for place in places if place.id != moved]
    at = max(0, min(to, len(left)))
    one = next(place for place in places if place.id == moved)
    lowest = left[at - 1].priority if at else 0
    highest = left[at].priority if at < len(left) else one.priority
    fitting = max(lowest, min(one.priority, highest))
    order = [*left[:at], replace(one, priority=fitting), *left[at:]]
    return [replace(place, rank=number - len(order)) for number, place in enumerate(order)]
