"""Where a pull comes from: another machine, the hub's cache, or the internet, the nearest first.

A machine that gives is asked first and says at which port; its lease is renewed while the pull
runs. Each try is a row, so a hub that was restarted goes on, and who failed is not asked again.
"""

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from labdash import live
from labdash.domain import orders
from labdash.domain.cache_origin import cache_origin
from labdash.models import (
    InstalledModel,
    Node,
    NodeKind,
    PullJob,
    PullSettings,
    PullSource,
    Transfer,
    UpstreamTag,
)
from labdash.queries import published
from labdash.queries.givers import MOST_RECEIVERS, fetching, has_just_got, read_copies
from labdash.queries.hosts_of import hosts_of
from labdash.queries.limits import Limits
from workers import wire

log = logging.getLogger(__name__)

# A node carries an order out within a second or two.
OPEN_WITHIN = timedelta(seconds=12)
RENEW_EVERY = timedelta(seconds=25)
# A job whose node let go of it does not keep a port open elsewhere.
IDLE_AFTER = timedelta(seconds=60)
# What the radar saw yesterday is not asked anew.
CHECKED_WITHIN = timedelta(hours=26)
# So long a job that goes to the internet keeps others from doing the same in that moment.
FIRST_KEPT_S = 20
REASON_LENGTH = 300
# What another source may do better; the rest is the fault of the machine that pulls.
BLAMED: frozenset[wire.PullCause] = frozenset(
    {
        "no-such-model",
        "not-public",
        "refused",
        "busy",
        "unreachable",
        "registry-fault",
        "damaged",
        "stalled",
        "broken-off",
        "slow",
        "other",
    }
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where it comes from now. Without ``origin``: from the registry of its name."""

    kind: PullSource
    origin: wire.Origin | None = None
    node: Node | None = None
    reason: str = ""


INTERNET = Source(kind=PullSource.INTERNET)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """It does not begin yet. ``is_asking``: within seconds it does, so none goes before it."""

    reason: str
    is_asking: bool = False


def choose(job: PullJob, limits: Limits, *, now: datetime) -> Source | Wait:
    """Return where a job comes from; asks a machine to give it where one can.

    Raises ``live.StoreDown``.
    """
    current = job.transfers.active().select_related("giver__node").first()
    if current is not None and current.giver is not None:
        going = _go_on(job, current, now=now)
        if going is not None:
            return going
    elif current is not None:
        return _from_cache(job, [], now=now)
    elif job.sent_at is not None:
        # It runs, from the internet: an order that is sent again changes nothing of that.
        return Source(kind=PullSource.INTERNET, reason=job.source_reason)
    return _choose_anew(job, limits, now=now)


def _choose_anew(job: PullJob, limits: Limits, *, now: datetime) -> Source | Wait:
    wanted, notes = PullSettings.read(), list[str]()
    if not wanted.neighbours:
        notes.append("Copying from other machines is off.")
    elif job.instance.node.kind == NodeKind.WINDOWS:
        notes.append("Windows cannot store names with a port, so no other machine can give it.")
    else:
        near = _ask_neighbour(job, limits, notes, now=now)
        if near is not None:
            return near
    has_failed = job.transfers.filter(failed=True, giver=None).exists()
    if wanted.cache and not has_failed:
        return _from_cache(job, notes, now=now)
    if wanted.neighbours and (other := _bringer(job, now=now)):
        return Wait(reason=other)
    return Source(kind=PullSource.INTERNET, reason=" ".join(notes)[:REASON_LENGTH])


# --- another machine -----------------------------------------------------------------------------


def _go_on(job: PullJob, current: Transfer, *, now: datetime) -> Source | Wait | None:
    """Return how it stands with a machine that was asked; ``None``: it did not answer."""
    giver = current.giver
    if giver is None:
        return None
    if current.opened_at is None:
        if now - current.asked_at < OPEN_WITHIN:
            return _asks(giver.node)
        end(current, now=now, failed=f"{giver.node} was asked to give it and did not answer.")
        return None
    hosts = hosts_of(giver, job.instance, current.hosts)
    if not hosts:
        why = f"No address is known by which {job.instance.node} would reach {giver.node}."
        end(current, now=now, failed=why)
        return None
    origin = wire.Origin(
        giver=giver.node.slug,
        hosts=hosts,
        port=current.port or 0,
        secret=current.secret,
        digest=current.digest,
    )
    return Source(kind=PullSource.NEIGHBOUR, origin=origin, node=giver.node)


def _ask_neighbour(job: PullJob, limits: Limits, notes: list[str], *, now: datetime) -> Wait | None:
    """Ask the best machine that has it; add to ``notes`` why there is none."""
    copies = read_copies(job, now=now)
    if not copies:
        return None
    digest = published_digest(job.model, now=now)
    reasons = [(each, each.why_not(digest)) for each in copies]
    able = [each for each, why in reasons if not why]
    notes.extend(dict.fromkeys(why for _, why in reasons if why))
    free = next((each for each in able if each.receivers < MOST_RECEIVERS), None)
    if free is not None:
        return _ask(job, free.row, limits, now=now)
    if able:
        names = ", ".join(sorted({each.row.instance.node.slug for each in able}))
        return Wait(reason=f"Waits: {names} gives it to two others already.")
    return None


def _ask(job: PullJob, row: InstalledModel, limits: Limits, *, now: datetime) -> Wait | None:
    fields = {"giver": row.instance, "model": row.name, "digest": row.digest}
    try:
        with transaction.atomic():
            asked = Transfer.objects.create(
                job=job, secret=secrets.token_hex(16), asked_at=now, renewed_at=now, **fields
            )
    except IntegrityError:
        return _asks(row.instance.node)
    try:
        orders.send_share(asked, bytes_per_s=limits.of(job))
    except orders.NotSent as error:
        end(asked, now=now)
        raise live.StoreDown from error
    return _asks(row.instance.node)


def _asks(giver: Node) -> Wait:
    return Wait(reason=f"Asks {giver} to give it.", is_asking=True)


def _bringer(job: PullJob, *, now: datetime) -> str:
    """Say who fetches the same model, where it is to come from there; nothing where nobody does."""
    if (slug := has_just_got(job, now=now)) is not None:
        return f"Waits for {slug} to tell what it has got: then it is copied from there."
    other = fetching(job, now=now)
    if other is not None:
        return f"Waits for {other.instance.node}, which downloads it: then it is copied from there."
    key = f"hub:fetching:{job.model.lower()}"
    with live.store_errors():
        is_first = live.store().set(key, job.pk, nx=True, ex=FIRST_KEPT_S)
        first = live.store().get(key)
    if is_first or first is None or int(first) == job.pk:
        return ""
    is_on = PullJob.objects.active().filter(pk=int(first), sent_at__isnull=False).exists()
    return "" if is_on else "Waits for another machine that begins to download it."


def published_digest(model: str, *, now: datetime) -> str | None:
    """Return the digest of what is published under a name, ``None`` where nobody knows.

    Of a name that nobody asked about lately, its registry is asked, for some seconds at most; where
    that says nothing, what it said last counts.
    """
    tag = UpstreamTag.objects.filter(name__iexact=model).select_related("manifest").first()
    is_fresh = tag is not None and tag.checked_at and now - tag.checked_at < CHECKED_WITHIN
    if tag is not None and is_fresh and tag.manifest is not None:
        return tag.manifest.digest
    found = published.look_up([model]).get(model)
    if found and found.manifest:
        return found.manifest.digest
    # What was said last: while nobody can be asked, no machine may pass anything off as that.
    return tag.manifest.digest if tag and tag.manifest else None


# --- the cache -----------------------------------------------------------------------------------


def _from_cache(job: PullJob, notes: list[str], *, now: datetime) -> Source:
    found = cache_origin(job)
    if isinstance(found, str):
        reason = " ".join([*notes, found])[:REASON_LENGTH]
        return Source(kind=PullSource.INTERNET, reason=reason)
    with transaction.atomic():
        job.transfers.get_or_create(ended_at=None, defaults={"asked_at": now, "opened_at": now})
    return Source(kind=PullSource.CACHE, origin=found, reason=" ".join(notes)[:REASON_LENGTH])


# --- ends ----------------------------------------------------------------------------------------


def settle(job: PullJob, report: wire.PullProgress, *, now: datetime) -> None:
    """Take note that a node let go of a job: whoever gave it need not any more."""
    current = job.transfers.active().select_related("giver__node").first()
    if current is None:
        return
    failed = (report.reason or "It failed.") if is_blamed(report) else ""
    end(current, now=now, failed=failed)


def is_blamed(report: wire.PullProgress) -> bool:
    """Tell whether a pull failed in a way that may be its source's fault."""
    return report.phase == "failed" and (report.cause or "other") in BLAMED


def release(job: PullJob, *, now: datetime) -> None:
    """Take note that a job ended without a word of its node."""
    for current in job.transfers.active().select_related("giver__node"):
        end(current, now=now)


def end(current: Transfer, *, now: datetime, failed: str = "") -> None:
    """End a transfer and let its port be closed; its lease would do so too, only later."""
    changes = {"ended_at": now, "failed": bool(failed), "reason": failed[:500]}
    if Transfer.objects.active().filter(pk=current.pk).update(**changes) and current.giver:
        log.info("transfer ended job=%d failed=%s", current.job_id, failed)
        _close(current)


def _close(current: Transfer) -> None:
    try:
        orders.send_share(current, lease_s=0)
    except orders.NotSent as error:
        log.info("its end not sent job=%d: %s", current.job_id, error)


def renew(limits: Limits, *, now: datetime) -> None:
    """Let machines give on, at the speed that holds now, while the pulls go on."""
    rows = Transfer.objects.active().select_related("giver__node", "job__instance__node")
    for current in rows:
        job = current.job
        last = current.renewed_at or current.asked_at
        if not job.is_active or (job.sent_at is None and now - current.asked_at > IDLE_AFTER):
            end(current, now=now)
        elif current.giver is not None and now - last >= RENEW_EVERY:
            same = Transfer.objects.active().filter(pk=current.pk, renewed_at=current.renewed_at)
            if same.update(renewed_at=now):
                _renew(current, limits)


def _renew(current: Transfer, limits: Limits) -> None:
    try:
        orders.send_share(current, bytes_per_s=limits.of(current.job))
    except orders.NotSent as error:
        log.warning("a lease was not renewed job=%d: %s", current.job_id, error)
