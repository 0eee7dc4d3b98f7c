"""What jobs share that are sent once and always end: orders about memory and about names."""

import logging
from collections.abc import Callable, Container
from datetime import datetime, timedelta

from django.db import models
from django.db.models.functions import Coalesce

from labdash import live
from workers.wire.loads import LOAD_QUIET_S

log = logging.getLogger(__name__)

# So many are kept of each server.
KEPT = 50


def end_lost[J: models.Model](
    active: models.QuerySet[J], end: Callable[[J], bool], *, now: datetime
) -> int:
    """Let ``end`` end the jobs of which nothing is heard any more; return how many it did.

    Does nothing while nobody reads reports: silence means nothing then.
    """
    signs = active.annotate(sign_at=Coalesce("heartbeat_at", "created_at"))
    quiet = signs.filter(sign_at__lt=now - timedelta(seconds=LOAD_QUIET_S))
    lost = list(quiet.select_related("instance__node"))
    if not lost:
        return 0
    try:
        return sum(map(end, lost)) if live.read_live([]).intake_alive else 0
    except live.StoreDown as error:
        log.warning("%s jobs wait for the store: %s", active.model.__name__, error)
        return 0


def prune[J: models.Model](
    jobs: models.QuerySet[J], ended: Container[str], *, now: datetime
) -> int:
    """Delete what has ended and is not among the newest of its server; return how many."""
    gone = 0
    for instance_id in jobs.order_by().values_list("instance", flat=True).distinct():
        over = jobs.filter(instance=instance_id, state__in=ended)
        kept = list(over.values_list("pk", flat=True)[:KEPT])
        gone += over.filter(created_at__lt=now).exclude(pk__in=kept).delete()[0]
    return gone
