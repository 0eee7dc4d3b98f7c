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
        return pacing.lowest(
            (self._own(job), _at_least_one(pacing.share_of(self.lab, self.sharers)))
        )

    def by_turns(self, job: PullJob) -> int | None:
        """Return what only rests can hold, as nobody carries the bytes who could.

        What another machine gives comes no faster; the hub's cache holds the limit of the lab
        where it fetches, and hands on at once what lies there.
        """
        if job.source == PullSource.NEIGHBOUR:
            return None
        return self._own(job) if job.source == PullSource.CACHE else self.of(job)

    def _own(self, job: PullJob) -> int | None:
        node = job.instance.node
        share = pacing.share_of(node.pull_bytes_per_s, self.by_node.get(node.pk, 1))
        return _at_least_one(share)


def _at_least_one(limit: int | None) -> int | None:
    """Return a share of a limit: one below that would be no limit but a stop."""
    return None if limit is None else max(1, limit)


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
    if limits.is_closed or job.sent_at is None:
        return ""
    by_turns, limit = limits.by_turns(job), limits.of(job)
    if by_turns is not None:
        return (
            f"limit {speed(by_turns)} on average: rests in between, as Ollama has no limit itself"
        )
    if job.source == PullSource.CACHE and limits.lab is not None:
        return f"limit {speed(limits.lab)} for what the cache still has to fetch"
    return "" if limit is None else f"limit {speed(limit)}"
