"""What a person does with pull jobs. ``domain.reconciliation`` carries them on from there."""

import logging

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash import live
from labdash.domain.cancelling import raise_cancel_flag
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.reconciliation import carry_on
from labdash.models import Instance, Node, PullJob, PullState
from labdash.models.pull import PullJobQuerySet

log = logging.getLogger(__name__)

# The first try may lose against a job that ends before it is read; the second cannot again.
REQUEST_TRIES = 3


def request_pull(*, instance: Instance, model: str, user: User | None) -> PullJob:
    """Return the job that pulls ``model`` to ``instance``: the active one, or a new one.

    Raises ``LabDashError`` for a name that cannot be pulled.
    """
    name = parse_model_name(model)
    for _ in range(REQUEST_TRIES):
        if job := _active(instance, name):
            return job
        try:
            with transaction.atomic():
                job = PullJob.objects.create(instance=instance, model=name, requested_by=user)
        except IntegrityError:
            continue
        transaction.on_commit(lambda: carry_on(instance=instance))
        return job
    raise LabDashError(f"{name} could not be queued on {instance}. Try again.")


def cancel_pull(*, job: PullJob) -> None:
    """Stop a job: at once if it was never sent, else as soon as the flag is raised or seen."""
    if not _end_unsent(job):
        active = PullJob.objects.active().filter(pk=job.pk)
        if active.update(cancel_requested=True):
            transaction.on_commit(lambda: _stop(job))
    job.refresh_from_db()


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


def _active(instance: Instance, name: str) -> PullJob | None:
    return PullJob.objects.active().filter(instance=instance, model__iexact=name).first()
