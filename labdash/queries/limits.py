"""How fast each running pull may be now."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings

from labdash.models import PullJob, PullSettings, PullSource
from labdash.queries import pacing
from labdash.wording import speed


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
    """Return the time zone of the windows: the hub's where none is set, or none that is known."""
    try:
        return ZoneInfo(wanted.zone or settings.TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(settings.TIME_ZONE)


def is_sharing(job: PullJob, now: datetime) -> bool:
    """Tell whether a pull takes its share of a limit: it runs, or rests between turns."""
    rests = job.rest_until_at is not None and job.rest_until_at > now and not job.held
    return job.sent_at is not None or rests


def told(job: PullJob, limits: Limits) -> str:
    """Say how a limit applies to a running pull, nothing where there is none."""
    limit = limits.of(job)
    if limit is None or limits.is_closed or job.sent_at is None:
        return ""
    if job.source == PullSource.INTERNET:
        return f"limit {speed(limit)} on average: rests in between, as Ollama has no limit itself"
    return f"limit {speed(limit)}"
