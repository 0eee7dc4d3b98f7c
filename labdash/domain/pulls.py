"""What a person does with pull jobs. ``domain.reconciliation`` carries them on from there."""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash.domain.cancelling import raise_cancel_flag
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.reconciliation import carry_on
from labdash.models import ENDED, Instance, Node, PullJob, PullState
from labdash.models.pull import PullJobQuerySet

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
    """Stop a job: at once if no node has it, else as soon as the node sees the flag."""
    now, node, job_id = timezone.now(), job.instance.node, job.pk
    unsent = PullJob.objects.filter(pk=job.pk, state=PullState.QUEUED, sent_at=None)
    if not unsent.update(
        state=PullState.CANCELLED, cancel_requested=True, finished_at=now, reason="Cancelled."
    ):
        PullJob.objects.filter(pk=job.pk).exclude(state__in=ENDED).update(cancel_requested=True)
    job.refresh_from_db()
    # A node may still have the order of an earlier attempt.
    if job.attempt:
        transaction.on_commit(lambda: raise_cancel_flag(job_id=job_id, node=node))


def retry_pull(*, job: PullJob, user: User | None) -> PullJob:
    """Ask again for what a failed or cancelled job was to pull; Ollama goes on where it stopped."""
    if job.is_active:
        return job
    if job.state == PullState.INSTALLED:
        raise LabDashError(f"{job.model} was installed: there is nothing to repeat.")
    return request_pull(instance=job.instance, model=job.model, user=user)


def abandon(*, job: PullJob) -> None:
    """Stop a job whose node or instance is about to be forgotten, and the row with it."""
    cancel_pull(job=job)


def active_jobs(*, node: Node) -> PullJobQuerySet:
    """Return the jobs of a node that have not ended."""
    return PullJob.objects.active().filter(instance__node=node).select_related("instance__node")


def _active(instance: Instance, name: str) -> PullJob | None:
    return PullJob.objects.active().filter(instance=instance, model__iexact=name).first()
