"""Pull jobs as the pages show them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from labdash.models import ENDED, RUNNING, Instance, PullJob, PullState
from labdash.models.pull import PullJobQuerySet
from labdash.queries.lab import LabView, Liveness

HISTORY_LENGTH = 50
# A node reports on a running pull at least every 5 s, so one report is missing.
WORD_EVERY_S = 8.0
PHASES = {
    PullState.STARTING: "asking where to get it",
    PullState.DOWNLOADING: "downloading",
    PullState.VERIFYING: "verifying: nothing to see for a while",
    PullState.FINISHING: "finishing",
    PullState.INSTALLED: "installed",
    PullState.FAILED: "failed",
    PullState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job and what to say of it. ``fraction`` is ``None`` until a size is known.

    ``silence_s`` is how long nothing was heard of it, where that is long: the speed that was told
    holds no more. ``reason`` is what ``words`` leave unsaid.
    """

    job: PullJob
    node: str
    words: str
    fraction: float | None
    silence_s: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class PullsView:
    """What runs, what waits and what was."""

    running: tuple[JobView, ...]
    queued: tuple[JobView, ...]
    ended: tuple[JobView, ...]
    instances: tuple[Instance, ...]


def read_pulls(lab: LabView) -> PullsView:
    """Return the jobs that have not ended and the latest of those that have."""
    active = active_jobs(lab)
    ended = _jobs().filter(state__in=ENDED).order_by("-finished_at", "-pk")[:HISTORY_LENGTH]
    return PullsView(
        running=tuple(view for view in active if view.job.state != PullState.QUEUED),
        queued=tuple(view for view in active if view.job.state == PullState.QUEUED),
        ended=view_jobs(ended, lab),
        instances=pull_targets(),
    )


def pull_targets() -> tuple[Instance, ...]:
    """Return the instances to which a model can be pulled."""
    return tuple(Instance.objects.select_related("node").order_by("node__slug", "name"))


def active_jobs(lab: LabView) -> tuple[JobView, ...]:
    """Return the jobs that have not ended, oldest first."""
    return view_jobs(_jobs().active().order_by("created_at", "pk"), lab)


def jobs_of_node(node_id: int, lab: LabView, *, limit: int) -> tuple[JobView, ...]:
    """Return the newest jobs of a node."""
    return view_jobs(_jobs().filter(instance__node_id=node_id)[:limit], lab)


def view_jobs(jobs: Iterable[PullJob], lab: LabView) -> tuple[JobView, ...]:
    """Put into words how jobs stand."""
    liveness = {view.node.slug: view.liveness for view in lab.nodes}
    return tuple(_view_job(job, liveness.get(job.instance.node.slug), lab.now) for job in jobs)


def silence_s(job: PullJob, now: datetime) -> float | None:
    """Return how long nothing was heard of a running job, if that is long."""
    if job.state not in RUNNING or job.heartbeat_at is None:
        return None
    seconds = (now - job.heartbeat_at).total_seconds()
    return seconds if seconds > WORD_EVERY_S else None


def _jobs() -> PullJobQuerySet:
    return PullJob.objects.select_related("instance__node")


def _view_job(job: PullJob, liveness: Liveness | None, now: datetime) -> JobView:
    return JobView(
        job=job,
        node=job.instance.node.slug,
        words=_words(job, liveness),
        fraction=_fraction(job),
        silence_s=silence_s(job, now),
        # Why a job waits is told in its words.
        reason="" if job.state == PullState.QUEUED else job.reason,
    )


def _fraction(job: PullJob) -> float | None:
    if job.state == PullState.INSTALLED:
        return 1.0
    if not job.total_bytes or job.done_bytes is None:
        return None
    return min(1.0, job.done_bytes / job.total_bytes)


def _words(job: PullJob, liveness: Liveness | None) -> str:
    node = job.instance.node
    if job.is_active and job.cancel_requested:
        return "cancelling"
    if job.is_active and liveness in {"silent", "never"}:
        return f"{node} does not answer; goes on when it is back"
    if job.state == PullState.QUEUED:
        return f"waits: {node} is paused" if node.paused else job.reason or "waits for its turn"
    return PHASES[PullState(job.state)]
