"""Carry pull jobs on: read the facts, ask ``reconcile`` for steps, take them one by one.

Every step is a conditional update, so this may run twice at once: who changes no row lost.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from labdash import live
from labdash.domain import orders, reconcile, sourcing
from labdash.domain.cancelling import lower_cancel_flag, raise_cancel_flag
from labdash.domain.pace import pace
from labdash.models import Instance, PullJob, PullState
from labdash.models.pull import ARRIVED, PullJobQuerySet
from labdash.queries import resting
from labdash.queries.heard import heard_at
from labdash.queries.limits import Limits, read_limits
from labdash.queries.room import missing_bytes, room_for

log = logging.getLogger(__name__)

# What a step makes of a job.
ENDS: dict[type[reconcile.Step], PullState] = {
    reconcile.Cancel: PullState.CANCELLED,
    reconcile.Fail: PullState.FAILED,
    reconcile.Pause: PullState.PAUSED,
    reconcile.Requeue: PullState.QUEUED,
}
# Cancelled, failed or explained jobs of one instance at one tick; the rest waits for the next.
MAX_STEPS = 20
# So many of a queue are asked at one tick where they could come from, each with some statements; of
# a long one another of the rest each time, lest those that could begin wait behind all that cannot.
MOST_ASKED = 3
BEHIND = sourcing.Wait(reason="Waits for those before it.")


def carry_on(*, instance: Instance | None = None, now: datetime | None = None) -> int:
    """Take all steps that are due, of one instance or of all; return how many.

    Does nothing while the store is down or nobody reads reports: silence means nothing then.
    """
    now = now or timezone.now()
    jobs = list(_active())
    if not jobs:
        return 0
    limits = read_limits(jobs, now=now)
    if instance is None:
        sourcing.renew(limits, now=now)
    by_instance = defaultdict(list)
    for job in jobs:
        if instance is None or job.instance_id == instance.pk:
            by_instance[job.instance_id].append(job)
    try:
        seen = live.read_live({job.instance.node.slug for job in jobs})
        if not seen.intake_alive:
            return 0
        groups = by_instance.values()
        return sum(_carry_on(group, seen.states, limits, now=now) for group in groups)
    except live.StoreDown as error:
        log.warning("pull jobs wait for the store: %s", error)
        return 0


def _active() -> PullJobQuerySet:
    """Return all jobs that have not ended, without the long fields of their places."""
    rows = PullJob.objects.active().select_related("instance__node").in_order()
    return rows.defer("instance__shelf", "instance__node__last_sample")


def _carry_on(
    jobs: list[PullJob], states: dict[str, live.NodeState], limits: Limits, *, now: datetime
) -> int:
    for job in jobs:
        pace(job, limits, now=now)
        _tell_to_stop(job)
    steps, waits = 0, dict[int, sourcing.Wait]()
    while jobs and steps < MAX_STEPS:
        state = states.get(jobs[0].instance.node.slug)
        place = _place(jobs, state, waits, is_closed=limits.is_closed, now=now)
        step = reconcile.next_step(place)
        if step is None:
            break
        steps += 1
        if isinstance(step, reconcile.Explain):
            _explain(jobs, reconcile.explanations(place))
            continue
        source = _source(step, jobs, limits, now=now)
        if isinstance(source, sourcing.Wait):
            # Those behind it may begin meanwhile, but for the seconds in which a machine is asked.
            waits[step.job.id] = source
            if len(waits) == MOST_ASKED:
                waits |= _behind(jobs, waits, is_closed=limits.is_closed, now=now)
            continue
        if not _take(step, jobs, source, now=now):
            break
        fresh = PullJob.objects.active().in_bulk([job.pk for job in jobs])
        jobs = [_like(job, fresh[job.pk]) for job in jobs if job.pk in fresh]
    return steps


def _tell_to_stop(job: PullJob) -> None:
    """Tell it again and again, for a store that forgot it."""
    is_to_pause = job.pause_requested and job.sent_at is not None
    if is_to_pause or (job.cancel_requested and job.attempt):
        raise_cancel_flag(job_id=job.pk, node=job.instance.node)


def _behind(
    jobs: list[PullJob], asked: Mapping[int, sourcing.Wait], *, is_closed: bool, now: datetime
) -> dict[int, sourcing.Wait]:
    """Let all wait that could be sent too, but for one, whichever the clock hits on."""
    others = [
        job.pk
        for job in jobs
        if job.pk not in asked and not _bounds(job, is_closed=is_closed).why(now)
    ]
    turn = int(now.timestamp() * 1000) % max(1, len(others))
    return dict.fromkeys(others[:turn] + others[turn + 1 :], BEHIND)


def _like(old: PullJob, new: PullJob) -> PullJob:
    """Keep the instance and node that were read once."""
    new.instance = old.instance
    return new


def _source(
    step: reconcile.Step, jobs: list[PullJob], limits: Limits, *, now: datetime
) -> sourcing.Source | sourcing.Wait | None:
    """Return where a job that is to be sent comes from."""
    if not isinstance(step, reconcile.Send):
        return None
    return sourcing.choose(_job_of(step, jobs), limits, now=now)


def _job_of(step: reconcile.Step, jobs: list[PullJob]) -> PullJob:
    return next(job for job in jobs if job.pk == step.job.id)


def _place(
    jobs: list[PullJob],
    state: live.NodeState | None,
    waits: Mapping[int, sourcing.Wait],
    *,
    is_closed: bool,
    now: datetime,
) -> reconcile.Place:
    instance = jobs[0].instance
    return reconcile.Place(
        node=instance.node.slug,
        instance=str(instance),
        paused=instance.node.paused,
        seen_age_s=_age_s(heard_at(instance.node, state), now),
        jobs=tuple(_facts(job, waits.get(job.pk), is_closed=is_closed, now=now) for job in jobs),
    )


def _facts(
    job: PullJob, wait: sourcing.Wait | None, *, is_closed: bool, now: datetime
) -> reconcile.Job:
    bounds = _bounds(job, is_closed=is_closed)
    return reconcile.Job(
        id=job.pk,
        model=job.model,
        fruitless=job.fruitless,
        cancel_requested=job.cancel_requested,
        pause_requested=job.pause_requested,
        rest=wait.reason if wait else bounds.why(now),
        is_paused=job.state == PullState.PAUSED,
        is_held=job.held,
        is_begun=job.attempt > 0 and not wait,
        is_arrived=job.state in ARRIVED,
        keeps_reason=bounds.is_retrying(now),
        is_pacing=bounds.is_pacing(now),
        is_asking=wait is not None and wait.is_asking,
        sent_age_s=_age_s(job.sent_at, now),
        sign_age_s=_age_s(job.heartbeat_at, now),
        reason=job.reason,
    )


def _bounds(job: PullJob, *, is_closed: bool) -> resting.Bounds:
    return resting.Bounds(
        held=job.held,
        not_before_at=job.not_before_at,
        not_after_at=job.not_after_at,
        waits=job.waits,
        retry_at=job.retry_at,
        is_closed=is_closed,
        rest_until_at=job.rest_until_at,
    )


def _age_s(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


def _take(
    step: reconcile.Step, jobs: list[PullJob], source: sourcing.Source | None, *, now: datetime
) -> bool:
    """Take a step; tell whether it was taken and a further one may follow at once."""
    job = _job_of(step, jobs)
    match step:
        case reconcile.Send():
            return _end_unfit(job, now=now) or _send(job, source or sourcing.INTERNET, now=now)
        case reconcile.Cancel() | reconcile.Fail():
            return _end(job, ENDS[type(step)], step.reason, now=now)
        case reconcile.Stop():
            return _stop(job, step.reason)
        case reconcile.Pause() | reconcile.Requeue():
            return _put_by(job, ENDS[type(step)], step.reason)
    return False


def _explain(jobs: list[PullJob], told: Mapping[str, list[int]]) -> None:
    """Say why jobs wait; whose state changed in this moment says so at the next tick."""
    by_id = {job.pk: job for job in jobs}
    for reason, keys in told.items():
        PullJob.objects.waiting().filter(pk__in=keys).update(reason=reason)
        for key in keys:
            by_id[key].reason = reason


def _stop(job: PullJob, reason: str) -> bool:
    """Ask the node to let go of a job that is wanted later."""
    with transaction.atomic():
        stopped = _still(job).update(pause_requested=True, reason=reason)
        if stopped:
            raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    return bool(stopped)


def _put_by(job: PullJob, state: PullState, reason: str) -> bool:
    """Take a job from its node, to be sent again when its time has come."""
    idle = {"sent_at": None, "bytes_per_s": None, "remaining_s": None}
    return bool(_still(job).update(state=state, reason=reason, **idle))


def _end_unfit(job: PullJob, *, now: datetime) -> bool:
    """Fail what cannot fit before its first byte; a schedule asks for much and for no disk."""
    if job.attempt or job.run_id is None:
        return False
    room = room_for(job.instance, missing_bytes(job.instance, job.model))
    reason = f"It does not fit: {room.words}"
    return room.fits is False and _end(job, PullState.FAILED, reason, now=now)


def _send(job: PullJob, source: sourcing.Source, *, now: datetime) -> bool:
    """Take the job for its node and send the order; undone where the store does not take it."""
    was_sent_at = job.sent_at
    begins: dict[str, object] = {}
    if was_sent_at is None:
        # Of its last pause, or of an earlier database. Should somebody ask for another pause in
        # this moment, nothing is sent below, and the flag is raised again when it is.
        lower_cancel_flag(job_id=job.pk, node=job.instance.node)
        begins = {
            "state": PullState.QUEUED,
            "pause_requested": False,
            "retry_at": None,
            "rest_until_at": None,
            "turn_at": now,
            "turn_bytes": 0,
        }
    whence = {
        "source": source.kind,
        "source_node": source.node,
        "source_reason": source.reason,
    }
    wanted = {"cancel_requested": False, "held": job.held}
    counted = {"attempt": F("attempt") + 1, "fruitless": F("fruitless") + 1}
    try:
        with transaction.atomic():
            taken = _still(job, **wanted).update(
                sent_at=now, reason="", **counted, **begins, **whence
            )
    except IntegrityError:
        # Another job of this instance was taken in the same moment.
        return False
    if not taken:
        return False
    # As it was stored, without reading it again: its row may be deleted in this moment.
    job.attempt, job.sent_at = job.attempt + 1, now
    job.state = str(begins.get("state", job.state))
    try:
        orders.send_pull(job, origin=source.origin)
    except orders.NotSent as error:
        log.warning("pull order not sent job=%d: %s", job.pk, error)
        _still(job).update(sent_at=was_sent_at, fruitless=job.fruitless)
        return False
    log.info("pull order sent job=%d node=%s attempt=%d", job.pk, job.instance.node, job.attempt)
    return True


def _end(job: PullJob, state: PullState, reason: str, *, now: datetime) -> bool:
    """End a job, and with it every order of it that a node has or may still find."""
    changes = {"bytes_per_s": None, "remaining_s": None}
    with transaction.atomic():
        ended = _still(job).update(
            state=state, reason=reason, finished_at=now, retry_may_help=True, **changes
        )
        if ended and job.attempt:
            raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    if ended:
        log.info("pull ended job=%d state=%s reason=%s", job.pk, state, reason)
        sourcing.release(job, now=now)
    return bool(ended)


def _still(job: PullJob, **conditions: object) -> PullJobQuerySet:
    """Select the job if nothing happened to it since it was read."""
    unchanged = {"state": job.state, "attempt": job.attempt, "sent_at": job.sent_at}
    return PullJob.objects.filter(pk=job.pk, **unchanged, **conditions)
