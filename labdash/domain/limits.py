"""How fast each running pull may be now, and the turns by which that is held."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from labdash.domain import pacing
from labdash.models import PullJob, PullSettings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limit of the lab now, and how many pulls share it, in all and by node.

    ``lab`` is ``None`` without a limit, and 0 while there are to be no pulls.
    """

    lab: int | None = None
    sharers: int = 1
    by_node: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is to be pulled now."""
        return self.lab == 0

    def of(self, job: PullJob) -> int | None:
        """Return what a pull may take, in bytes a second: its share, ``None`` for all it can."""
        node = job.instance.node
        own = pacing.share_of(node.pull_bytes_per_s, self.by_node.get(node.pk, 1))
        share = pacing.share_of(self.lab, self.sharers)
        # A share below one would be no limit but a stop.
        return pacing.lowest(None if each is None else max(1, each) for each in (own, share))


def read_limits(jobs: Iterable[PullJob], *, now: datetime) -> Limits:
    """Return what holds now for the pulls that run or rest between turns, among all ``jobs``."""
    sharing = [job.instance.node_id for job in jobs if is_sharing(job, now)]
    return Limits(
        lab=limit_now(PullSettings.read(), now=now),
        sharers=max(1, len(sharing)),
        by_node=Counter(sharing),
    )


def limit_now(wanted: PullSettings, *, now: datetime) -> int | None:
    """Return the limit of the lab in bytes a second at this moment."""
    return pacing.limit_at(
        now.astimezone(zone_of(wanted)),
        bytes_per_s=wanted.bytes_per_s,
        windows=pacing.read_windows(wanted.speed_windows),
    )


def zone_of(wanted: PullSettings) -> ZoneInfo:
    """Return the time zone of the windows: the hub's where none is set."""
    return ZoneInfo(wanted.zone or settings.TIME_ZONE)


def is_sharing(job: PullJob, now: datetime) -> bool:
    """Tell whether a pull takes its share of a limit: it runs, or rests between turns."""
    rests = job.rest_until_at is not None and job.rest_until_at > now and not job.held
    return job.sent_at is not None or rests


def pace(job: PullJob, limits: Limits, *, now: datetime) -> None:
    """Let a running pull that was faster than its limit rest, or begin its next ten minutes."""
    if job.sent_at is None or job.turn_at is None or job.pause_requested:
        return
    arrived = max(0, (job.arrived_bytes or 0) - job.turn_bytes)
    turn = pacing.Turn(age_s=(now - job.turn_at).total_seconds(), arrived_bytes=arrived)
    if rest_s := pacing.rest_s(turn, limit=limits.of(job)):
        _update(job, rest_until_at=now + timedelta(seconds=rest_s))
    elif turn.age_s > pacing.CYCLE_S:
        _update(job, turn_at=now, turn_bytes=job.arrived_bytes or 0)


def _update(job: PullJob, **changes: object) -> None:
    if PullJob.objects.active().filter(pk=job.pk, attempt=job.attempt).update(**changes):
        for name, value in changes.items():
            setattr(job, name, value)
