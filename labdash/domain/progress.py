"""What a node says about a pull becomes the state of its job."""

import logging
from dataclasses import asdict
from datetime import datetime, timedelta

from labdash.domain import caching, counting, retrying, sourcing
from labdash.domain.cancelling import raise_cancel_flag
from labdash.domain.reconciliation import carry_on
from labdash.models import ENDED, PullJob, PullSettings, PullSource, PullState
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
# What a node says while it is at it.
GOING = ("waiting", "starting", "downloading", "verifying", "finishing")
REASON_LENGTH = 500
# A person may pause and resume while a report is recorded, and hardly twice in a row.
RECORD_TRIES = 3


def record_progress(report: wire.PullProgress, *, arrived_at: datetime) -> bool:
    """Bring a job up to date; tell whether anything changed.

    A report never revives a job that ended, and one of an earlier attempt counts only for what
    it cannot be wrong about (see ``_counts``).
    """
    for _ in range(RECORD_TRIES):
        job = _find(report.job_id)
        if job is None or not _counts(report, job, arrived_at):
            return False
        if job.instance.node.slug != report.node:
            log.warning("report about a job of another node job=%d node=%s", job.pk, report.node)
            return False
        if _record(report, job, arrived_at):
            return True
    return False


def _find(job_id: int) -> PullJob | None:
    return PullJob.objects.active().filter(pk=job_id).select_related("instance__node").first()


def _record(report: wire.PullProgress, job: PullJob, arrived_at: datetime) -> bool:
    """Record a report, unless somebody asked something else of the job in this moment."""
    state = _state(report, job)
    retry = _retry(report, state, job, arrived_at)
    state = PullState.QUEUED if retry else state
    asked = {name: getattr(job, name) for name in ("cancel_requested", "pause_requested", "held")}
    unchanged = PullJob.objects.active().filter(pk=job.pk, attempt=job.attempt, **asked)
    changed = unchanged.update(
        state=state,
        heartbeat_at=arrived_at,
        sent_at=_sent_at(report, state, job, arrived_at),
        **_figures(report, job),
        **_moments(state, job, arrived_at),
        **_reason(report, state, job),
        **retry,
    )
    if changed and state == PullState.PAUSED and report.phase in GOING:
        # It goes on although it was to stop: the store forgot the flag, or the node was away.
        raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    is_damaged = report.phase == "failed" and report.cause == "damaged"
    if changed and is_damaged and job.source == PullSource.CACHE:
        caching.recheck(model=job.model)
    if changed and report.phase not in GOING:
        log.info("pull ended job=%d state=%s reason=%s", job.pk, state, report.reason)
        sourcing.settle(job, report, now=arrived_at)
        carry_on(instance=job.instance)
    return bool(changed)


def _state(report: wire.PullProgress, job: PullJob) -> PullState:
    """Return what a report makes of a job: who was only to pause is neither cancelled nor failed.

    A job that was paused without its node's word stays so while it hears of that.
    """
    state = STATES[report.phase]
    is_to_pause = job.pause_requested or job.held
    if report.phase == "cancelled" and not job.cancel_requested:
        # Resumed in the moment in which its node let go of it, it waits for its turn again.
        return PullState.PAUSED if is_to_pause else PullState.QUEUED
    if report.phase == "failed" and report.retry and is_to_pause and not job.cancel_requested:
        return PullState.PAUSED
    if report.phase in GOING and job.state == PullState.PAUSED and job.pause_requested:
        return PullState.PAUSED
    return state


def _sent_at(
    report: wire.PullProgress, state: PullState, job: PullJob, arrived_at: datetime
) -> datetime | None:
    """Return since when its node has the job: not at all once it said that it let go."""
    if state == PullState.PAUSED or (report.phase not in GOING and state not in ENDED):
        return None
    return job.sent_at or arrived_at


def _counts(report: wire.PullProgress, job: PullJob, arrived_at: datetime) -> bool:
    """Tell whether a report speaks of the job as it stands.

    Of an earlier attempt: an installed model is installed, what was stopped was to be stopped,
    and progress that arrives after the newest order shows that its worker is still at it.
    """
    if report.attempt >= job.attempt or report.phase == "installed":
        return True
    if report.phase == "cancelled":
        return job.cancel_requested or job.pause_requested
    return report.phase != "failed" and job.sent_at is not None and arrived_at > job.sent_at


def _figures(report: wire.PullProgress, job: PullJob) -> dict[str, object]:
    """Return what was counted; bytes that arrive renew the patience."""
    counted = counting.count(
        counting.Counted(
            done=job.done_bytes,
            total=job.total_bytes,
            arrived=job.arrived_bytes,
            lost=job.lost_bytes,
            kept=job.kept_bytes,
            kept_total=job.kept_total_bytes,
        ),
        counting.Told(
            done=report.done_bytes,
            total=report.total_bytes,
            arrived=report.arrived_bytes,
            found=report.found_bytes,
            is_whole=report.phase == "installed",
        ),
    )
    return {
        **{f"{name}_bytes": value for name, value in asdict(counted).items()},
        "bytes_per_s": report.bytes_per_s,
        "remaining_s": report.remaining_s,
        "fruitless": job.fruitless if counted.done == job.done_bytes else 0,
        "retry_may_help": report.retry,
        "cause": report.cause or "",
    }


def _retry(
    report: wire.PullProgress, state: PullState, job: PullJob, arrived_at: datetime
) -> dict[str, object]:
    """Return when a failed pull is tried again by itself, nothing where it is not.

    Bytes that came begin the count anew, unless they were for nothing. A source of the lab that
    failed is asked once, so that counts as no try, and the next source need not wait.
    """
    if state != PullState.FAILED or job.cancel_requested:
        return {}
    if sourcing.is_blamed(report) and job.transfers.active().exists():
        return {"retries": job.retries, "retry_at": arrived_at}
    if not report.retry:
        return {}
    is_fresh = bool(report.arrived_bytes) and report.cause != "damaged"
    failures = 1 if is_fresh else job.retries + 1
    tries = PullSettings.read().tries
    wait_s = retrying.wait_s(report.cause, failures=failures, tries=tries)
    if wait_s is None:
        return {}
    return {
        "retries": failures,
        "retry_at": arrived_at + timedelta(seconds=wait_s),
    }


def _reason(report: wire.PullProgress, state: PullState, job: PullJob) -> dict[str, object]:
    """Return what a node says; why a job pauses is known better here."""
    is_kept = state == PullState.PAUSED or (job.pause_requested and state not in ENDED)
    if is_kept:
        return {}
    again = f" Tried {job.retries + 1} times." if state == PullState.FAILED and job.retries else ""
    return {"reason": (report.reason or "")[: REASON_LENGTH - len(again)] + again}


def _moments(state: PullState, job: PullJob, arrived_at: datetime) -> dict[str, object]:
    moments: dict[str, object] = {}
    if state != PullState.QUEUED and job.started_at is None:
        moments["started_at"] = arrived_at
    if state in ENDED:
        moments["finished_at"] = arrived_at
    return moments
