"""What a person does with pull jobs. ``domain.reconciliation`` carries them on from there."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash import live
from labdash.domain.cancelling import lower_cancel_flag, raise_cancel_flag
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.reconciliation import carry_on
from labdash.models import ENDED, Instance, Node, PullJob, PullState, ScheduleRun
from labdash.models.pull import ARRIVED, PullJobQuerySet
from labdash.queries.resting import HELD
from labdash.queries.room import missing_bytes, room_for
from labdash.queries.turns import turn_words

log = logging.getLogger(__name__)

# Of 1 (first) to 9.
USUAL_PRIORITY = 5
# The first try may lose against a job that ends before it is read; the second cannot again.
REQUEST_TRIES = 3
# As runs of schedules; of very many that are older, so many at a time.
KEPT = timedelta(days=180)
MOST_FORGOTTEN = 1000

type _Window = tuple[datetime | None, datetime | None]


def request_pull(  # noqa: PLR0913 - keyword only, and each says when or for whom
    *,
    instance: Instance,
    model: str,
    user: User | None,
    run: ScheduleRun | None = None,
    priority: int = USUAL_PRIORITY,
    not_before_at: datetime | None = None,
    not_after_at: datetime | None = None,
) -> PullJob:
    """Return the job that pulls ``model`` to ``instance``: the active one, or a new one.

    An active one is never put off: it keeps the better priority and the wider of two windows, the
    earlier of two that do not meet; and belongs no more to a schedule that lets it wait where a
    person asks for it.
    Raises ``LabDashError`` for a name that cannot be pulled, and for a disk that is known to be too
    small for it.
    """
    name = parse_model_name(model)
    bounds = {"not_before_at": not_before_at, "not_after_at": not_after_at}
    for _ in range(REQUEST_TRIES):
        if job := _active(instance, name):
            return _hasten(job, run, priority=priority, **bounds)
        _require_room(instance, name)
        fields = {"requested_by": user, "run": run, "priority": priority, **bounds}
        try:
            with transaction.atomic():
                waits = _turn(run)
                job = PullJob.objects.create(instance=instance, model=name, waits=waits, **fields)
        except IntegrityError:
            continue
        transaction.on_commit(lambda: carry_on(instance=instance))
        return job
    raise LabDashError(f"{name} could not be queued on {instance}. Try again.")


def _turn(run: ScheduleRun | None) -> str:
    """Let a pull wait for its turn where its schedule goes to some machines at once.

    Whose turn it is, is seen within seconds; else all would have begun by then.
    """
    at_once = run.schedule.at_once if run else None
    return turn_words(run.schedule.name, at_once) if run and at_once else ""


def _require_room(instance: Instance, name: str) -> None:
    """Refuse what does not fit before a byte is fetched, where its size and the room are known."""
    room = room_for(instance, missing_bytes(instance, name))
    if room.fits is False:
        raise LabDashError(f"{name} does not fit: {room.words} Delete something on Storage first.")


def cancel_pull(*, job: PullJob) -> None:
    """Stop a job: at once if it was never sent, else as soon as the flag is raised or seen."""
    if not _end_unsent(job):
        active = PullJob.objects.active().filter(pk=job.pk)
        if active.update(cancel_requested=True):
            transaction.on_commit(lambda: _stop(job))
    job.refresh_from_db()


def pause_pull(*, job: PullJob) -> None:
    """Hold a job until it is resumed by hand; what has arrived stays with its server.

    Raises ``LabDashError`` where there is nothing left to pause.
    """
    active = PullJob.objects.active().filter(pk=job.pk, cancel_requested=False)
    if not active.filter(attempt=0, sent_at=None).update(
        held=True, state=PullState.PAUSED, reason=HELD
    ):
        begun = active.exclude(state__in=ARRIVED)
        if not begun.update(held=True, pause_requested=True, retry_at=None):
            raise LabDashError(f"{job} has arrived or has ended: there is nothing to pause.")
        transaction.on_commit(lambda: _stop(job))
    job.refresh_from_db()


def resume_pull(*, job: PullJob) -> None:
    """Let a job go on now, whatever kept it: a person, its window, or a try that failed.

    Raises ``LabDashError`` for one that has ended.
    """
    active = PullJob.objects.active().filter(pk=job.pk, cancel_requested=False)
    free = dict.fromkeys(("retry_at", "rest_until_at", "not_before_at", "not_after_at", "run"))
    if not active.update(held=False, pause_requested=False, waits="", **free):
        raise LabDashError(f"{job} has ended. Try it again instead.")
    transaction.on_commit(lambda: _go_on(job))
    job.refresh_from_db()


def move_window(
    *, job: PullJob, not_before_at: datetime | None, not_after_at: datetime | None
) -> bool:
    """Give a job that has not ended another window; tell whether it has not."""
    active = PullJob.objects.active().filter(pk=job.pk)
    moved = active.update(not_before_at=not_before_at, not_after_at=not_after_at)
    if moved:
        transaction.on_commit(lambda: carry_on(instance=job.instance))
    return bool(moved)


def retry_pull(*, job: PullJob, user: User | None) -> PullJob:
    """Ask again for what a failed or cancelled job was to pull; Ollama goes on where it stopped."""
    if job.is_active:
        return job
    if job.state == PullState.INSTALLED:
        raise LabDashError(f"{job.model} was installed: there is nothing to repeat.")
    return request_pull(instance=job.instance, model=job.model, user=user)


def abandon(*, job: PullJob) -> None:
    """Stop a job whose row is about to be forgotten.

    Raises ``LabDashError`` where a node may have it and the store is down: nobody would stop it
    later.
    """
    if not job.is_active or _end_unsent(job):
        return
    try:
        raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    except live.StoreDown as error:
        raise LabDashError(
            f"The store does not answer, so the pull of {job} cannot be stopped. Try again later."
        ) from error


def prune(*, now: datetime) -> int:
    """Forget jobs of long ago."""
    old = PullJob.objects.filter(state__in=ENDED, finished_at__lt=now - KEPT)
    keys = list(old.order_by("finished_at").values_list("pk", flat=True)[:MOST_FORGOTTEN])
    return PullJob.objects.filter(pk__in=keys).delete()[1].get("labdash.PullJob", 0)


def active_jobs(*, node: Node) -> PullJobQuerySet:
    """Return the jobs of a node that have not ended."""
    return PullJob.objects.active().filter(instance__node=node).select_related("instance__node")


def _end_unsent(job: PullJob) -> bool:
    """End a job that was never sent; tell whether it was one."""
    unsent = PullJob.objects.active().filter(pk=job.pk, attempt=0, sent_at=None)
    return bool(
        unsent.update(
            state=PullState.CANCELLED,
            cancel_requested=True,
            finished_at=timezone.now(),
            reason="Cancelled.",
        )
    )


def _stop(job: PullJob) -> None:
    try:
        raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    except live.StoreDown as error:
        log.warning("cancel flag not set yet job=%d: %s", job.pk, error)
    else:
        carry_on(instance=job.instance)


def _go_on(job: PullJob) -> None:
    """Take the flag back: a node that has not seen it yet never stops."""
    try:
        lower_cancel_flag(job_id=job.pk, node=job.instance.node)
    except live.StoreDown as error:
        log.warning("cancel flag not taken back yet job=%d: %s", job.pk, error)
    else:
        carry_on(instance=job.instance)


def _hasten(
    job: PullJob,
    run: ScheduleRun | None,
    *,
    priority: int,
    not_before_at: datetime | None,
    not_after_at: datetime | None,
) -> PullJob:
    begins, ends = together(
        (job.not_before_at, job.not_after_at), (not_before_at, not_after_at), now=timezone.now()
    )
    wider = {
        "priority": min(job.priority, priority),
        "not_before_at": begins,
        "not_after_at": ends,
        **({} if run else {"run": None, "waits": ""}),
    }
    changes = {name: value for name, value in wider.items() if getattr(job, name) != value}
    if changes and PullJob.objects.active().filter(pk=job.pk).update(**changes):
        for name, value in changes.items():
            setattr(job, name, value)
        transaction.on_commit(lambda: carry_on(instance=job.instance))
    return job


def together(one: _Window, other: _Window, *, now: datetime) -> _Window:
    """Return what two windows are together, or the one of them that comes first. Pure.

    One that is over is none, and what lies between two is in neither.
    """
    for window, instead in ((one, other), (other, one)):
        if window[1] is not None and window[1] <= now:
            return instead
    for first, second in ((one, other), (other, one)):
        if first[1] is not None and None not in second and first[1] < (second[0] or first[1]):
            return first
    return _wider(min, one[0], other[0]), _wider(max, one[1], other[1])


def _wider(
    choose: Callable[..., datetime], one: datetime | None, other: datetime | None
) -> datetime | None:
    return None if one is None or other is None else choose(one, other)


def _active(instance: Instance, name: str) -> PullJob | None:
    return PullJob.objects.active().filter(instance=instance, model__iexact=name).first()
