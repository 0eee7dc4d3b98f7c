"""Hold speed limits: a pull that was faster than its share rests for a while."""

from datetime import datetime, timedelta

from labdash.models import PullJob
from labdash.queries import pacing
from labdash.queries.limits import Limits


def pace(job: PullJob, limits: Limits, *, now: datetime) -> None:
    """Let a running pull that was faster than its limit rest, or begin its next ten minutes.

    Who rests when there is no limit any more goes on at once.
    """
    if job.rest_until_at is not None and limits.by_turns(job) is None:
        _update(job, rest_until_at=None)
    if job.sent_at is None or job.turn_at is None or job.pause_requested:
        return
    if job.heartbeat_at is None or job.heartbeat_at < job.turn_at:
        # What arrived is that of an earlier turn still.
        return
    arrived = max(0, (job.arrived_bytes or 0) - job.turn_bytes)
    turn = pacing.Turn(age_s=(now - job.turn_at).total_seconds(), arrived_bytes=arrived)
    if rest_s := pacing.rest_s(turn, limit=limits.by_turns(job)):
        _update(job, rest_until_at=now + timedelta(seconds=rest_s))
    elif turn.age_s > pacing.CYCLE_S:
        _update(job, turn_at=now, turn_bytes=job.arrived_bytes or 0)


def _update(job: PullJob, **changes: object) -> None:
    if PullJob.objects.active().filter(pk=job.pk, attempt=job.attempt).update(**changes):
        for name, value in changes.items():
            setattr(job, name, value)
