"""Pull jobs as the pages show them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Count

from labdash.models import ENDED, RUNNING, Instance, PullJob, PullSource, PullState
from labdash.models.pull import ARRIVED, PullJobQuerySet
from labdash.queries import resting
from labdash.queries.lab import LabView, Liveness, NodeView
from labdash.queries.limits import read_limits, told
from labdash.queries.pausing import bytes_at_risk

HISTORY_LENGTH = 50
# Of each queue: a schedule may ask for hundreds, and the page is drawn anew each second.
MOST_WAITING = 20
LATELY = timedelta(hours=24)
# A node reports on a running pull at least every 5 s, so one report is missing.
WORD_EVERY_S = 8.0
PHASES = {
    PullState.STARTING: "asking where to get it",
    PullState.DOWNLOADING: "downloading",
    PullState.VERIFYING: "verifying: nothing to see for a while",
    PullState.FINISHING: "finishing",
    PullState.PAUSED: "paused",
    PullState.INSTALLED: "installed",
    PullState.FAILED: "failed",
    PullState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job and what to say of it. ``fraction`` is ``None`` until a size is known.

    ``silence_s`` is how long nothing was heard of it, where that is long: the speed that was told
    holds no more. ``reason`` is what ``words`` leave unsaid. ``wait_s`` is how long until it is
    tried again or its turn under a speed limit comes, ``risk_bytes`` what a long pause may cost.
    ``limit`` says which speed limit applies and how.
    """

    job: PullJob
    node: str
    words: str
    fraction: float | None
    silence_s: float | None
    reason: str
    wait_s: float | None = None
    risk_bytes: int = 0
    limit: str = ""

    @property
    def source(self) -> str:
        """Say where it comes from, and why from no place nearer; nothing before that is chosen."""
        job = self.job
        if not job.attempt and not job.source_reason:
            return ""
        giver = job.source_node.slug if job.source_node else "another machine"
        words = {
            PullSource.NEIGHBOUR: f"copied from {giver}",
            PullSource.CACHE: "from the hub's cache",
        }.get(PullSource(job.source), "from the internet")
        return f"{words}: {job.source_reason}" if job.source_reason else words

    @property
    def opens_at(self) -> datetime | None:
        """When its window opens, where that is what it waits for."""
        is_early = self.job.reason == resting.EARLY and not self.job.cancel_requested
        return self.job.not_before_at if is_early else None

    @property
    def can_pause(self) -> bool:
        """Whether a pause makes sense: it is wanted, and something is left to come."""
        job = self.job
        return not (job.held or job.cancel_requested or job.state in ARRIVED)

    @property
    def can_go_on(self) -> bool:
        """Whether something keeps it that a person may lift."""
        job = self.job
        if job.sent_at is not None or job.cancel_requested:
            return False
        is_kept = job.held or job.state == PullState.PAUSED or job.reason == resting.LATE
        return bool(is_kept or self.opens_at or job.waits or job.retry_at)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What waits at one instance, in order."""

    instance: Instance
    jobs: tuple[JobView, ...]

    @property
    def shown(self) -> tuple[JobView, ...]:
        """Those that come first."""
        return self.jobs[:MOST_WAITING]

    @property
    def more(self) -> int:
        """How many wait behind them."""
        return len(self.jobs) - len(self.shown)

    @property
    def last(self) -> int:
        """The place of the last."""
        return len(self.jobs) - 1


@dataclass(frozen=True, kw_only=True)
class PullsView:
    """What runs, what waits and what was."""

    running: tuple[JobView, ...]
    queues: tuple[Queue, ...]
    ended: tuple[JobView, ...]
    instances: tuple[Instance, ...]


def read_pulls(lab: LabView) -> PullsView:
    """Return the jobs that have not ended and the latest of those that have."""
    active = _with_limits(view_jobs(_jobs().active().in_order(), lab), lab.now)
    waiting = [view for view in active if not view.job.is_running]
    ended = _jobs().filter(state__in=ENDED).order_by("-finished_at", "-pk")[:HISTORY_LENGTH]
    return PullsView(
        running=tuple(view for view in active if view.job.is_running),
        queues=tuple(_queues(waiting)),
        ended=view_jobs(ended, lab),
        instances=pull_targets(),
    )


def pull_targets() -> tuple[Instance, ...]:
    """Return the instances to which a model can be pulled."""
    return tuple(Instance.objects.select_related("node").order_by("node__slug", "name"))


def active_jobs(lab: LabView) -> tuple[JobView, ...]:
    """Return the jobs that have not ended, oldest first."""
    return view_jobs(_jobs().active().order_by("created_at", "pk"), lab)


def ended_lately(now: datetime) -> dict[str, int]:
    """Count what ended within a day, by how: a night's work, in the morning."""
    ended = PullJob.objects.filter(finished_at__gt=now - LATELY).order_by()
    return dict(ended.values_list("state").annotate(Count("pk")))


def jobs_of_node(node_id: int, lab: LabView, *, limit: int) -> tuple[JobView, ...]:
    """Return the newest jobs of a node."""
    return view_jobs(_jobs().filter(instance__node_id=node_id)[:limit], lab)


def view_jobs(jobs: Iterable[PullJob], lab: LabView) -> tuple[JobView, ...]:
    """Put into words how jobs stand."""
    nodes = {view.node.slug: view for view in lab.nodes}
    return tuple(_view_job(job, nodes.get(job.instance.node.slug), lab.now) for job in jobs)


def silence_s(job: PullJob, now: datetime) -> float | None:
    """Return how long nothing was heard of a running job, if that is long."""
    if job.state not in RUNNING or job.heartbeat_at is None:
        return None
    seconds = (now - job.heartbeat_at).total_seconds()
    return seconds if seconds > WORD_EVERY_S else None


def _jobs() -> PullJobQuerySet:
    rows = PullJob.objects.select_related("instance__node", "source_node")
    samples = (f"{each}__last_sample" for each in ("instance__node", "source_node"))
    return rows.defer("instance__shelf", *samples)


def _with_limits(views: Sequence[JobView], now: datetime) -> list[JobView]:
    limits = read_limits([view.job for view in views], now=now)
    return [replace(view, limit=told(view.job, limits)) for view in views]


def _queues(waiting: Iterable[JobView]) -> Iterator[Queue]:
    by_instance: dict[int, list[JobView]] = defaultdict(list)
    for view in waiting:
        by_instance[view.job.instance_id].append(view)
    for views in sorted(by_instance.values(), key=lambda views: str(views[0].job.instance)):
        yield Queue(instance=views[0].job.instance, jobs=tuple(views))


def _view_job(job: PullJob, node: NodeView | None, now: datetime) -> JobView:
    return JobView(
        job=job,
        node=job.instance.node.slug,
        words=_words(job, node.liveness if node else None, now),
        fraction=_fraction(job),
        silence_s=silence_s(job, now),
        # Why a job waits is told in its words, but for the failure after which it is tried again.
        reason="" if _is_told(job, now) else job.reason,
        wait_s=_wait_s(job, now),
        risk_bytes=bytes_at_risk(job, node),
    )


def _is_told(job: PullJob, now: datetime) -> bool:
    is_waiting = job.state == PullState.QUEUED and not _retries(job, now)
    return is_waiting or job.reason == resting.HELD


def _wait_s(job: PullJob, now: datetime) -> float | None:
    """Return how long a job waits for its next try or turn, where that is what it waits for."""
    ends_at = job.rest_until_at if job.reason == resting.PACED else job.retry_at
    if ends_at is None or job.held or job.sent_at is not None or ends_at <= now:
        return None
    return (ends_at - now).total_seconds()


def _retries(job: PullJob, now: datetime) -> bool:
    return job.retry_at is not None and job.retry_at > now


def _fraction(job: PullJob) -> float | None:
    if job.state == PullState.INSTALLED:
        return 1.0
    if not job.total_bytes or job.done_bytes is None:
        return None
    return min(1.0, job.done_bytes / job.total_bytes)


def _words(job: PullJob, liveness: Liveness | None, now: datetime) -> str:
    node = job.instance.node
    if stopping := _stopping(job):
        return stopping
    if job.is_active and liveness in {"silent", "never"}:
        return f"{node} does not answer; goes on when it is back"
    if job.state != PullState.QUEUED:
        return PHASES[PullState(job.state)]
    if _retries(job, now):
        return "is tried again"
    return f"waits: {node} is paused" if node.paused else job.reason or "waits for its turn"


def _stopping(job: PullJob) -> str:
    """Tell what somebody wants of a job that its node may not have heard of, nothing else."""
    if not job.is_active:
        return ""
    if job.cancel_requested:
        return "cancelling"
    if job.sent_at is not None:
        return "pausing" if job.pause_requested else ""
    if job.held:
        return "paused by hand"
    return PHASES[PullState.PAUSED] if job.state == PullState.PAUSED else ""
