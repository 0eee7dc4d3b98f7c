"""The hub's cache of models: its switch, what it is told to do, and what it fetches ahead.

The cache is a process of its own (``workers.cache``) that the runner starts while a file wants it.
"""

import hmac
import logging
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone
from pydantic import ValidationError
from redis import WatchError

from labdash import live
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY
from labdash.domain.reconcile import SILENT_AFTER_S
from labdash.models import (
    InstalledModel,
    Instance,
    Node,
    NodeKind,
    PullJob,
    PullSettings,
    PullState,
)
from labdash.models.pull import PullJobQuerySet, PullSource
from labdash.queries.cache import (
    GONE,
    cache_folder,
    cached_as,
    left_folders,
    port_error,
    read_state,
)
from labdash.queries.heard import heard_at
from labdash.queries.limits import limit_now
from workers.wire.caching import (
    DROPS_KEPT_S,
    EVERYTHING,
    MOST_GRANTS,
    SPECS_APART_S,
    CacheAhead,
    CachedModel,
    CacheGrant,
    CacheSpec,
    drops_key,
    rechecks_key,
    spec_key,
)

log = logging.getLogger(__name__)

# Who was not heard of for so long sleeps, or is away.
SILENT_AFTER = timedelta(seconds=SILENT_AFTER_S)
SECRET_LENGTH = 32
# As far as the cache would say it to a registry.
_VERSION = re.compile(r"[0-9A-Za-z.+_\-]{1,40}")
# Others write at the same moment, and hardly five times in a row.
WRITE_TRIES = 5


def switch(*, is_on: bool) -> None:
    """Turn the cache on or off; its process follows within seconds. Files stay."""
    PullSettings.objects.update_or_create(pk=1, defaults={"cache": is_on})
    with suppress(live.StoreDown):
        # It has not been silent yet.
        live.note_cache(is_there=True, error="")
    tend(now=timezone.now())


def limit(*, limit_bytes: int) -> None:
    """Take another size limit; what is too much is cleared up when something new comes."""
    PullSettings.objects.update_or_create(pk=1, defaults={"cache_limit_bytes": limit_bytes})
    tend(now=timezone.now())


def drop(*, model: str) -> None:
    """Delete a model from the cache. Raises ``LabDashError``."""
    _ask(drops_key(), model)


def recheck(*, model: str) -> None:
    """Let the cache read a model again, of which a machine got a damaged file."""
    try:
        _ask(rechecks_key(), model)
    except LabDashError as error:
        log.warning("the cache is not told of a damaged file model=%s: %s", model, error)


def drop_all() -> None:
    """Delete all that nobody is served now, or, while the cache is off, all. ``LabDashError``."""
    if PullSettings.read().cache:
        _ask(drops_key(), EVERYTHING)
    else:
        _remove_folder()


def tend(*, now: datetime) -> None:
    """Want the process or not, tell it what to do, and pass on what it fetched ahead."""
    wanted = PullSettings.read()
    try:
        _want(is_wanted=wanted.cache)
    except OSError as error:
        log.warning("the cache cannot be switched: %s", error.strerror)
    if not wanted.cache:
        return
    try:
        ahead = publish(wanted=wanted, now=now)
        state = read_state()
        live.note_cache(is_there=state is not None, error=port_error(state))
    except live.StoreDown as error:
        log.warning("the cache is not told what to do: %s", error)
        return
    models = {each.model: each for each in state.models} if state else {}
    _note(ahead, models)
    _let_in(models, now=now)


def publish(*, wanted: PullSettings, now: datetime) -> list[PullJob]:
    """Tell the cache what to do now; return what it fetches ahead. Raises ``live.StoreDown``."""
    made_at = time.time()
    wished = _wished().select_related("instance__node")
    jobs = list(wished.order_by(F("sent_at").asc(nulls_last=True), "pk")[:MOST_GRANTS])
    ahead = _ahead(jobs, wanted, now=now)
    spec = CacheSpec(
        made_at=made_at,
        limit_bytes=wanted.cache_limit_bytes,
        keep_free_bytes=wanted.keep_free_bytes,
        bytes_per_s=limit_now(wanted, now=now),
        plain_port=Node.objects.filter(kind=NodeKind.WINDOWS).exists(),
        grants=tuple(
            CacheGrant(secret=secret_of(job), model=job.model, seal=seal_of(job)) for job in jobs
        ),
        ahead=tuple(CacheAhead(model=job.model, version=_version(job.instance)) for job in ahead),
    )
    _write(spec)
    return ahead


def _write(spec: CacheSpec) -> None:
    """Write what the cache shall do, unless somebody wrote what is newer in this moment."""
    with live.store_errors(), live.store().pipeline() as pipe:
        for _ in range(WRITE_TRIES):
            try:
                pipe.watch(spec_key())  # type: ignore[no-untyped-call]
                if _is_newer(str(pipe.get(spec_key()) or ""), spec):
                    return
                pipe.multi()
                pipe.set(spec_key(), spec.model_dump_json())
                pipe.execute()
            except WatchError:
                continue
            return


def _is_newer(text: str, spec: CacheSpec) -> bool:
    """Tell whether what is there knows more; not where a clock was put back by far."""
    try:
        there = CacheSpec.model_validate_json(text)
    except ValidationError:
        return False
    return 0 < there.made_at - spec.made_at < SPECS_APART_S


def _version(instance: Instance) -> str:
    """Return the version of a server, nothing where what its node tells is none."""
    return instance.version if _VERSION.fullmatch(instance.version) else ""


def secret_of(job: PullJob) -> str:
    """Return the secret by which the node of a job gets its model from the cache.

    It is the same at each try, so that nothing under its name is fetched twice, and dies with
    the job.
    """
    return _derived(f"cache {job.pk}")


def seal_of(job: PullJob) -> str:
    """Return what the cache proves manifests with to the node of a job; no network ever sees it."""
    return _derived(f"cache seal {job.pk}")


def _derived(use: str) -> str:
    key = settings.SECRET_KEY.encode()
    return hmac.digest(key, use.encode(), sha256).hex()[:SECRET_LENGTH]


def _wished() -> PullJobQuerySet:
    """Return the jobs that may ask the cache: those that are not stopped in any way."""
    stopped = Q(held=True) | Q(cancel_requested=True) | Q(pause_requested=True)
    return PullJob.objects.active().exclude(stopped | Q(state=PullState.PAUSED))


def _ahead(jobs: Iterable[PullJob], wanted: PullSettings, *, now: datetime) -> list[PullJob]:
    """Return the jobs whose time has come while their node is away, one for each model."""
    waiting = [job for job in jobs if job.sent_at is None and _is_open(job, now)]
    awake = _awake([job.instance for job in waiting], now)
    asleep = [job for job in waiting if job.instance_id not in awake]
    near = _at_neighbours(asleep, now) if asleep and wanted.neighbours else set()
    by_model = {job.model: job for job in asleep if job.model not in near}
    return list(by_model.values())


def _is_open(job: PullJob, now: datetime) -> bool:
    opens, closes = job.not_before_at, job.not_after_at
    return (opens is None or opens <= now) and (closes is None or now < closes)


def _awake(instances: Collection[Instance], now: datetime) -> set[int]:
    """Return the keys of the servers that can be reckoned with.

    Of a machine that is only an address, the hub reports that its server does not answer.
    """
    states = live.read_states({each.node.slug for each in instances}) if instances else {}
    return {each.pk for each in instances if _answers(each, states.get(each.node.slug), now)}


def _answers(instance: Instance, state: live.NodeState | None, now: datetime) -> bool:
    at = heard_at(instance.node, state)
    if at is None or now - at > SILENT_AFTER:
        return False
    readings = state.sample.instances if state else ()
    return all(each.state == "ok" for each in readings if each.url == instance.url)


def _at_neighbours(jobs: Iterable[PullJob], now: datetime) -> set[str]:
    """Return the models that a machine has which is awake: they will not come from upstream."""
    names = {job.model for job in jobs}
    rows = InstalledModel.objects.filter(name__in=names).select_related("instance__node")
    awake = _awake([row.instance for row in rows], now)
    return {row.name for row in rows if row.instance_id in awake}


def _note(jobs: Iterable[PullJob], models: Mapping[str, CachedModel]) -> None:
    """Say at each job how much of it was fetched ahead; a row is written when that changes."""
    for job in jobs:
        seen = models.get(cached_as(job.model))
        if seen is None:
            continue
        share = seen.here_bytes * 100 // seen.total_bytes if seen.total_bytes else 0
        text = f"{share} % of it is there already."
        if seen.reason and not seen.is_arriving and not seen.is_whole:
            text = f"it cannot be fetched ahead: {seen.reason}"
        if job.source_reason != text[:300]:
            unsent = PullJob.objects.active().filter(pk=job.pk, sent_at=None)
            unsent.update(source=PullSource.CACHE, source_reason=text[:300])


def _let_in(models: Mapping[str, CachedModel], *, now: datetime) -> None:
    """Let a machine that slept through its window have what was fetched for it meanwhile.

    It comes from here, not from the internet, for the sake of which there are windows.
    """
    whole = {name for name, each in models.items() if each.is_whole}
    late = _wished().filter(attempt=0, source=PullSource.CACHE, not_before_at__gt=now)
    rows = late.select_related("instance__node") if whole else []
    found = [job for job in rows if cached_as(job.model) in whole]
    awake = _awake([job.instance for job in found], now)
    keys = [job.pk for job in found if job.instance_id in awake]
    if keys:
        still = PullJob.objects.active().filter(pk__in=keys, attempt=0)
        still.update(not_before_at=None, not_after_at=None, waits="")


def _want(*, is_wanted: bool) -> None:
    path = Path(settings.DATA_DIR) / "run" / "cache-wanted"
    if is_wanted and not path.exists():
        path.touch()
    elif not is_wanted:
        path.unlink(missing_ok=True)


def _ask(key: str, name: str) -> None:
    try:
        with live.store_errors():
            pipe = live.store().pipeline(transaction=True)
            pipe.sadd(key, name)
            pipe.expire(key, DROPS_KEPT_S)
            pipe.execute()
    except live.StoreDown as error:
        raise LabDashError(STORE_AWAY) from error


def _remove_folder() -> None:
    """Delete all files of a cache that is off. Renamed first: who turns it on begins anew."""
    folder = cache_folder()
    try:
        with suppress(FileNotFoundError):
            folder.rename(folder.with_name(f"{folder.name}{GONE}{time.time_ns()}"))
        # Also what is left of another time, as where the hub was ended in the middle of it.
        for gone in left_folders():
            shutil.rmtree(gone)
    except OSError as error:
        raise LabDashError(f"{folder} cannot be deleted: {error.strerror}.") from error
