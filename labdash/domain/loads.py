"""Loading, keeping and unloading by hand: each wish is a row, sent once, and always ends."""

import logging
from datetime import datetime
from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from labdash import live
from labdash.domain import once, orders
from labdash.domain.cancelling import lower_load_flag, raise_load_flag
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY, require_ready
from labdash.models import LOAD_ENDED, Instance, LoadJob, LoadState, LoadWish
from labdash.queries.loads import last_load
from labdash.queries.trying import may_be_named
from workers import wire
from workers.wire.loads import FOREVER_S

log = logging.getLogger(__name__)

# As long as columns of the table are.
REASON_LENGTH, MEANING_LENGTH = 1000, 500
_DOING = {LoadWish.LOAD: "loaded", LoadWish.KEEP: "kept", LoadWish.UNLOAD: "unloaded"}
_PHASES: dict[wire.LoadPhase, LoadState] = {
    "starting": LoadState.STARTING,
    "loading": LoadState.LOADING,
    "loaded": LoadState.LOADED,
    "unloaded": LoadState.UNLOADED,
    "failed": LoadState.FAILED,
    "cancelled": LoadState.CANCELLED,
}


def load(
    *,
    instance: Instance,
    model: str,
    context: int | None,
    keep_s: int,
    main_gpu: int | None,
    user: User | None,
) -> LoadJob:
    """Load a model, with other options anew; the job under way for it counts as this one."""
    job = LoadJob(
        instance=instance,
        model=model,
        wish=LoadWish.LOAD,
        context=context,
        keep_s=keep_s,
        main_gpu=main_gpu,
        requested_by=user,
    )
    return _request(job)


def keep(*, instance: Instance, model: str, keep_s: int, user: User | None) -> LoadJob:
    """Change how long a loaded model stays, with the options that LabDash last gave it."""
    last = last_load(instance, model)
    job = LoadJob(
        instance=instance,
        model=model,
        wish=LoadWish.KEEP,
        keep_s=keep_s,
        main_gpu=last.main_gpu if last else None,
        requested_by=user,
    )
    return _request(job)


def unload(*, instance: Instance, model: str, user: User | None) -> LoadJob:
    """Free the memory; a load of it that is under way is given up first."""
    under_way = _active(instance, model)
    if under_way is not None and under_way.wish != LoadWish.UNLOAD:
        cancel(job=under_way)
        return under_way
    job = LoadJob(instance=instance, model=model, wish=LoadWish.UNLOAD, keep_s=0, requested_by=user)
    return _request(job)


def for_plan(*, instance: Instance, model: str, wish: LoadWish) -> LoadJob:
    """Load a model of a plan, to stay and with the options of its name, or unload it."""
    keep_s = 0 if wish == LoadWish.UNLOAD else FOREVER_S
    job = LoadJob(instance=instance, model=model, wish=wish, keep_s=keep_s, by_plan=True)
    return _request(job)


def cancel(*, job: LoadJob) -> None:
    """Give a job up: its node hears of it within a second. Raises ``LabDashError``."""
    if LoadJob.objects.active().filter(pk=job.pk).update(cancel_requested=True):
        try:
            raise_load_flag(job_id=job.pk, node=job.instance.node)
        except live.StoreDown as error:
            raise LabDashError(STORE_AWAY) from error
    job.refresh_from_db()


def record_load(report: wire.LoadProgress, *, arrived_at: datetime) -> bool:
    """Bring a job up to date; tell whether anything changed. What has ended is never revived."""
    job = LoadJob.objects.active().filter(pk=report.job_id).select_related("instance__node").first()
    if job is None or job.instance.node.slug != report.node:
        return False
    state = _PHASES[report.phase]
    place = report.place
    changed = LoadJob.objects.active().filter(pk=job.pk)
    is_changed = changed.update(
        state=state,
        heartbeat_at=arrived_at,
        finished_at=arrived_at if state in LOAD_ENDED else None,
        reason=(report.reason or "")[:REASON_LENGTH],
        meaning=(report.meaning or "")[:MEANING_LENGTH],
        log="\n".join(report.log),
        log_note=(report.log_note or "")[:MEANING_LENGTH],
        size_bytes=place.size_bytes if place else None,
        size_vram_bytes=place.size_vram_bytes if place else None,
        context_length=place.context_length if place else None,
        gpus=_gpus(place),
    )
    if is_changed and state in LOAD_ENDED:
        log.info("load ended job=%d state=%s", job.pk, state)
    return bool(is_changed)


def end_lost(*, now: datetime) -> int:
    """End the jobs of which nothing is heard any more; return how many."""
    return once.end_lost(LoadJob.objects.active(), partial(_end_lost, now=now), now=now)


def prune(*, now: datetime) -> int:
    """Delete what has ended and is not among the newest of its server."""
    return once.prune(LoadJob.objects.all(), LOAD_ENDED, now=now)


def _request(job: LoadJob) -> LoadJob:
    require_ready(job.instance.node, to_be="done", now=timezone.now())
    if not may_be_named(job.model):
        raise LabDashError(f"{job.model} is no name that an order can bear.")
    try:
        with transaction.atomic():
            job.save()
    except IntegrityError:
        return _under_way(job)
    _send(job)
    return job


def _under_way(job: LoadJob) -> LoadJob:
    """Return the job that does the same already. Raises ``LabDashError`` where it does not."""
    other = _active(job.instance, job.model)
    if other is None:
        raise LabDashError(f"Something else was done to {job.model} just now. Try again.")
    same = ("wish", "context", "keep_s", "main_gpu")
    if any(getattr(other, name) != getattr(job, name) for name in same):
        doing = _DOING[LoadWish(other.wish)]
        raise LabDashError(f"{other.model} is being {doing} just now: wait for that, or cancel it.")
    return other


def _send(job: LoadJob) -> None:
    try:
        lower_load_flag(job_id=job.pk, node=job.instance.node)
        orders.send_load(job)
    except (live.StoreDown, orders.NotSent) as error:
        _end(job, "The store does not answer, so nothing was done.", now=timezone.now())
        raise LabDashError(STORE_AWAY) from error


def _end_lost(job: LoadJob, *, now: datetime) -> bool:
    """End a job, and every order of it that its node may still find."""
    node = job.instance.node
    if job.heartbeat_at is None:
        text = f"The worker of {node} did not take it up. It may be stopped, or older than this hub"
    else:
        text = f"The worker of {node} went silent in the middle of it"
    raise_load_flag(job_id=job.pk, node=node)
    return _end(job, f"{text}. What is in memory now, the node's page shows.", now=now)


def _end(job: LoadJob, meaning: str, *, now: datetime) -> bool:
    state = LoadState.CANCELLED if job.cancel_requested else LoadState.FAILED
    unchanged = Q(pk=job.pk, state=job.state, heartbeat_at=job.heartbeat_at)
    ended = LoadJob.objects.active().filter(unchanged)
    return bool(ended.update(state=state, meaning=meaning, finished_at=now))


def _active(instance: Instance, model: str) -> LoadJob | None:
    jobs = LoadJob.objects.active().select_related("instance__node")
    return jobs.filter(instance=instance, model__iexact=model).first()


def _gpus(place: wire.TryPlace | None) -> list[list[object]] | None:
    if place is None or place.gpus is None:
        return None
    return [[gpu.index, gpu.name, gpu.used_bytes] for gpu in place.gpus]
