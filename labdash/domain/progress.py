"""What a node says about a pull becomes the state of its job."""

import logging
from datetime import datetime

from labdash.domain.reconciliation import carry_on
from labdash.models import ENDED, PullJob, PullState
from workers import wire

log = logging.getLogger(__name__)

STATES: dict[wire.PullPhase, PullState] = {
    "waiting": PullState.QUEUED,
    "starting": PullState.STARTING,
    "downloading": PullState.DOWNLOADING,
    "verifying": PullState.VERIFYING,
    "finishing": PullState.FINISHING,
    "installed": PullState.INSTALLED,
    "failed": PullState.FAILED,
    "cancelled": PullState.CANCELLED,
}
REASON_LENGTH = 500


def record_progress(report: wire.PullProgress, *, arrived_at: datetime) -> bool:
    """Bring a job up to date; tell whether anything changed.

    A report never revives a job that ended, and one of an earlier attempt counts only for what
    it cannot be wrong about (see ``_counts``).
    """
    job = PullJob.objects.active().filter(pk=report.job_id).select_related("instance__node").first()
    if job is None or not _counts(report, job, arrived_at):
        return False
    if job.instance.node.slug != report.node:
        log.warning("report about a job of another node job=%d node=%s", job.pk, report.node)
        return False
    state = STATES[report.phase]
    unchanged = PullJob.objects.active().filter(pk=job.pk, attempt=job.attempt)
    changed = unchanged.update(
        state=state,
        heartbeat_at=arrived_at,
        sent_at=job.sent_at or arrived_at,
        **_figures(report, job),
        **_moments(state, job, arrived_at),
    )
    if changed and state in ENDED:
        log.info("pull ended job=%d state=%s reason=%s", job.pk, state, report.reason)
        carry_on(instance=job.instance)
    return bool(changed)


def _counts(report: wire.PullProgress, job: PullJob, arrived_at: datetime) -> bool:
    """Tell whether a report speaks of the job as it stands.

    Of an earlier attempt: an installed model is installed, a cancelled job was to be cancelled,
    and progress that arrives after the newest order shows that its worker is still at it.
    """
    if report.attempt >= job.attempt or report.phase == "installed":
        return True
    if report.phase == "cancelled":
        return job.cancel_requested
    return report.phase != "failed" and job.sent_at is not None and arrived_at > job.sent_at


def _figures(report: wire.PullProgress, job: PullJob) -> dict[str, object]:
    """Return what was counted. What is done never falls; bytes that arrive renew the patience."""
    done = max((n for n in (job.done_bytes, report.done_bytes) if n is not None), default=None)
    total = report.total_bytes if report.total_bytes is not None else job.total_bytes
    if report.phase == "installed" and total is not None:
        done = total
    return {
        "done_bytes": done,
        "total_bytes": total,
        "bytes_per_s": report.bytes_per_s,
        "remaining_s": report.remaining_s,
        "fruitless": job.fruitless if done == job.done_bytes else 0,
        "reason": (report.reason or "")[:REASON_LENGTH],
        "retry_may_help": report.retry,
    }


def _moments(state: PullState, job: PullJob, arrived_at: datetime) -> dict[str, object]:
    moments: dict[str, object] = {}
    if state != PullState.QUEUED and job.started_at is None:
        moments["started_at"] = arrived_at
    if state in ENDED:
        moments["finished_at"] = arrived_at
    return moments
