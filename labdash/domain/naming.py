"""Names on servers, changed by hand or by a rule: each wish is a row, sent once, and it ends."""

import logging
import re
from datetime import datetime
from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from labdash import live
from labdash.domain import once, orders
from labdash.domain.cancelling import lower_name_flag, raise_name_flag
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.domain.readiness import STORE_AWAY, require_ready
from labdash.models import NAME_ENDED, InstalledModel, Instance, NameAct, NameJob, NameState
from labdash.planner.placing.inventory import plain
from labdash.queries.radar import OWN_FOLDERS
from labdash.queries.trying import may_be_named
from workers import wire

log = logging.getLogger(__name__)

_MANIFEST = re.compile(r"[0-9a-f]{64}")
# As long as columns of the table are.
REASON_LENGTH, MEANING_LENGTH = 1000, 500
_PHASES: dict[wire.NamePhase, NameState] = {
    "working": NameState.WORKING,
    "done": NameState.DONE,
    "failed": NameState.FAILED,
    "cancelled": NameState.CANCELLED,
}


def copy(*, installed: InstalledModel, target: str, user: User | None) -> NameJob:
    """Give a model a second name, which takes no room of its own."""
    return _named_anew(installed, NameAct.COPY, target, user)


def rename(*, installed: InstalledModel, target: str, user: User | None) -> NameJob:
    """Give a model another name in place of its own; it is unloaded."""
    return _named_anew(installed, NameAct.RENAME, target, user)


def delete(
    *, installed: InstalledModel, frees_bytes: int | None, user: User | None, why: str = ""
) -> NameJob:
    """Unload a model and delete its name, with what files no other name needs.

    Raises ``LabDashError``, also while it is being pulled.
    """
    job = NameJob(
        instance=installed.instance,
        act=NameAct.DELETE,
        model=installed.name,
        digest=installed.digest,
        frees_bytes=frees_bytes,
        requested_by=user,
        why=why,
    )
    return request(job)


def clear(*, instance: Instance, user: User | None) -> NameJob:
    """Delete the unfinished downloads of a server. Raises ``LabDashError`` while it pulls."""
    if instance.pull_jobs.active().filter(sent_at__isnull=False).exists():
        raise LabDashError(f"{instance} is pulling: pause or cancel that first.")
    return request(NameJob(instance=instance, act=NameAct.CLEAR, requested_by=user))


def request(job: NameJob) -> NameJob:
    """Store and send an order; the same one that is under way counts as this one.

    Raises ``LabDashError``.
    """
    require_ready(job.instance.node, to_be="done", now=timezone.now())
    # Nodes tell what they like, and of that an order bears a manifest's digest alone.
    job.digest = job.digest if _MANIFEST.fullmatch(job.digest) else ""
    for name in filter(None, (job.model, job.target)):
        if not may_be_named(name):
            raise LabDashError(f"{name} is no name that an order can bear.")
        _require_not_pulled(job.instance, name)
    _require_no_other(job)
    try:
        with transaction.atomic():
            job.save()
    except IntegrityError:
        return _under_way(job)
    _send(job)
    return job


def cancel(*, job: NameJob) -> None:
    """Give an order up: its node hears of it within a second. Raises ``LabDashError``."""
    if NameJob.objects.active().filter(pk=job.pk).update(cancel_requested=True):
        try:
            raise_name_flag(job_id=job.pk, node=job.instance.node)
        except live.StoreDown as error:
            raise LabDashError(STORE_AWAY) from error
    job.refresh_from_db()


def record_name(report: wire.NameProgress | wire.ClearProgress, *, arrived_at: datetime) -> bool:
    """Bring a job up to date; tell whether anything changed. What has ended is never revived."""
    job = NameJob.objects.active().filter(pk=report.job_id).select_related("instance__node").first()
    if job is None or job.instance.node.slug != report.node:
        return False
    state = _PHASES[report.phase]
    freed = report.freed_bytes if isinstance(report, wire.ClearProgress) else job.frees_bytes
    changed = NameJob.objects.active().filter(pk=job.pk)
    is_changed = changed.update(
        state=state,
        heartbeat_at=arrived_at,
        finished_at=arrived_at if state in NAME_ENDED else None,
        frees_bytes=freed,
        reason=(report.reason or "")[:REASON_LENGTH],
        meaning=(report.meaning or "")[:MEANING_LENGTH],
    )
    if is_changed and state in NAME_ENDED:
        log.info("%s of a name ended job=%d state=%s", job.act, job.pk, state)
    return bool(is_changed)


def end_lost(*, now: datetime) -> int:
    """End the jobs of which nothing is heard any more; return how many."""
    return once.end_lost(NameJob.objects.active(), partial(_end_lost, now=now), now=now)


def prune(*, now: datetime) -> int:
    """Delete what has ended and is not among the newest of its server."""
    return once.prune(NameJob.objects.all(), NAME_ENDED, now=now)


def _named_anew(installed: InstalledModel, act: NameAct, target: str, user: User | None) -> NameJob:
    name = parse_model_name(target)
    own = next((each for each in OWN_FOLDERS if plain(name).startswith(each)), "")
    if own:
        raise LabDashError(f"Names that begin with {own} are LabDash's own: take another.")
    if plain(name) == plain(installed.name):
        raise LabDashError(f"For Ollama {name} and {installed.name} are the same name.")
    taken = [row.name for row in installed.instance.installed_models.all()]
    if plain(name) in map(plain, taken):
        raise LabDashError(f"{installed.instance} has {name} already: delete it first.")
    job = NameJob(
        instance=installed.instance,
        act=act,
        model=installed.name,
        target=name,
        digest=installed.digest,
        requested_by=user,
    )
    return request(job)


def _require_not_pulled(instance: Instance, name: str) -> None:
    if instance.pull_jobs.active().filter(model__iexact=name).exists():
        raise LabDashError(f"{name} is being pulled to {instance}: cancel that first.")


def _require_no_other(job: NameJob) -> None:
    """Refuse two orders that meet in a name: one would overwrite what the other has just made."""
    others = NameJob.objects.active().filter(instance=job.instance).exclude(model__iexact=job.model)
    names = {name.lower() for name in (job.model, job.target) if name}
    for model, target in others.values_list("model", "target"):
        if meeting := names & {model.lower(), target.lower()} - {""}:
            raise LabDashError(f"{min(meeting)} has another order just now: wait for that.")


def _under_way(job: NameJob) -> NameJob:
    """Return the job that does the same already. Raises ``LabDashError`` where it does not."""
    active = NameJob.objects.active().select_related("instance__node")
    other = active.filter(instance=job.instance, model__iexact=job.model).first()
    if other is None:
        raise LabDashError(f"Something else was done to {job.model} just now. Try again.")
    if (other.act, other.target) != (job.act, job.target):
        doing = NameAct(other.act).label
        raise LabDashError(f"{other.model} has another order just now ({doing}): wait for that.")
    return other


def _send(job: NameJob) -> None:
    try:
        lower_name_flag(job_id=job.pk, node=job.instance.node)
        orders.send_name(job)
    except (live.StoreDown, orders.NotSent) as error:
        _end(job, "The store does not answer, so nothing was done.", now=timezone.now())
        raise LabDashError(STORE_AWAY) from error


def _end_lost(job: NameJob, *, now: datetime) -> bool:
    """End a job, and every order of it that its node may still find."""
    node = job.instance.node
    if job.heartbeat_at is None:
        text = f"The worker of {node} did not take it up. It may be stopped, or older than this hub"
    else:
        text = f"The worker of {node} went silent in the middle of it"
    raise_name_flag(job_id=job.pk, node=node)
    return _end(job, f"{text}. What is there now, the list of its models shows.", now=now)


def _end(job: NameJob, meaning: str, *, now: datetime) -> bool:
    state = NameState.CANCELLED if job.cancel_requested else NameState.FAILED
    unchanged = Q(pk=job.pk, state=job.state, heartbeat_at=job.heartbeat_at)
    ended = NameJob.objects.active().filter(unchanged)
    return bool(ended.update(state=state, meaning=meaning, finished_at=now))
