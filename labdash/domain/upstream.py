"""Ask registries what is published under the names that are installed: rarely, and politely.

Each name is asked for once a day at most, spread over it. A registry that gives no answer is asked
for one name at a time, less and less often, and nothing that it said before is forgotten.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import httpx
from django.conf import settings
from django.db import IntegrityError, transaction

from labdash.models import (
    InstalledModel,
    PullSettings,
    UpstreamHost,
    UpstreamManifest,
    UpstreamState,
    UpstreamTag,
)
from labdash.planner.errors import PlannerError
from labdash.queries.radar import names_to_ask, read_radar
from labdash.queries.registries import may_be_asked, ollama_registry
from labdash.queries.versions import hex_of, kind_of
from labdash.sources.ranges import ClosedError, NotPublishedError, UnreachableError
from labdash.sources.registry import (
    HEADERS,
    Manifest,
    address_of,
    read_manifest,
    read_requires,
)

log = logging.getLogger(__name__)

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# Names that are due at one hour one day shall not stay together.
JITTER = 2 * HOUR
# A name that is new here is asked for after the first and before the second; sooner in the demo.
FIRST_AFTER, FIRST_WITHIN = timedelta(minutes=2), timedelta(minutes=10)
# Two answers of "not there" with less between them are of one day.
TWO_DAYS_APART = timedelta(hours=20)
# What was never published will hardly be so tomorrow.
NEVER_THERE_EVERY = 7 * DAY
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), 6 * HOUR
AT_A_TIME = 5
VERSIONS_KEPT = 180 * DAY
# What asks longer than this goes on at the next tick.
WITHIN_S = 20.0
TIMEOUT = httpx.Timeout(10, connect=5)
DEADLINE_S = 15.0
REASON_LENGTH = 300


def look(*, now: datetime, chance: random.Random | None = None) -> int:
    """Ask for the names that are due; return how many were answered."""
    if not PullSettings.read().check_updates:
        return 0
    chance = chance or random.Random()  # noqa: S311 - spreads requests, and hides nothing
    _note_names(now=now, chance=chance)
    closed = set(UpstreamHost.objects.filter(not_before_at__gt=now).values_list("host", flat=True))
    due = UpstreamTag.objects.filter(next_at__lte=now).exclude(host__in=closed)
    tags = list(due.order_by("next_at")[:AT_A_TIME])
    # A client makes a context for TLS, which takes a while.
    return _ask_each(tags, now=now, chance=chance) if tags else 0


def count_behind() -> int:
    """Keep for each name how many servers have an older version; return how many rows changed."""
    behind: Counter[int] = Counter()
    for line in read_radar():
        if line.tag is not None:
            behind[line.tag.pk] += sum(copy.is_free for copy in line.copies)
    changed = 0
    for key, was in UpstreamTag.objects.values_list("pk", "behind"):
        if was != behind[key]:
            changed += UpstreamTag.objects.filter(pk=key).update(behind=behind[key])
    return changed


def prune(*, now: datetime) -> int:
    """Forget versions that are neither published nor installed any more."""
    here = InstalledModel.objects.values_list("digest", flat=True)
    old = UpstreamManifest.objects.filter(first_seen_at__lt=now - VERSIONS_KEPT, tags=None)
    return old.exclude(digest__in=here).delete()[0]


def hurry(names: Iterable[str], *, now: datetime) -> int:
    """Let names be asked for soon that were not within the last hour; return how many these are.

    The registry of the demo is asked each time: who plays publishes, and wants to see it.
    """
    wanted = {name.lower() for name in names}
    before = now if settings.DEMO else now - HOUR
    stale = [
        tag.pk
        for tag in UpstreamTag.objects.all()
        if tag.name.lower() in wanted and (tag.checked_at is None or tag.checked_at < before)
    ]
    UpstreamTag.objects.filter(pk__in=stale, next_at__gt=now).update(next_at=now)
    return len(stale)


def _note_names(*, now: datetime, chance: random.Random) -> None:
    """Know the names that are installed, and forget what is neither installed nor of this day."""
    wanted = {name.lower(): name for name in names_to_ask()}
    tags = {tag.name.lower(): tag for tag in UpstreamTag.objects.only("name", "next_at")}
    for key in wanted.keys() - tags.keys():
        host = address_of(wanted[key], ollama=ollama_registry()).service.name
        if may_be_asked(host):
            soon = now + _soon(chance)
            UpstreamTag.objects.get_or_create(
                name=wanted[key], defaults={"host": host, "next_at": soon}
            )
    old = [tag.pk for key, tag in tags.items() if key not in wanted and tag.next_at < now]
    if old:
        UpstreamTag.objects.filter(pk__in=old).delete()


def _soon(chance: random.Random) -> timedelta:
    """Spread the first questions of a lab that is new; nobody waits so long for a demo."""
    first = FIRST_AFTER + (FIRST_WITHIN - FIRST_AFTER) * chance.random()
    return first / 20 if settings.DEMO else first


def _ask_each(tags: Iterable[UpstreamTag], *, now: datetime, chance: random.Random) -> int:
    began_at, answered, down = time.monotonic(), 0, set[str]()
    with httpx.Client(headers=HEADERS, timeout=TIMEOUT, trust_env=not settings.DEMO) as client:
        for tag in tags:
            if tag.host in down or time.monotonic() - began_at > WITHIN_S:
                continue
            # Whoever changes no row was not the first.
            later = now + DAY + JITTER * chance.random()
            if not _still(tag).update(next_at=later):
                continue
            tag.next_at = later
            try:
                _note(tag, _answer(tag, client), now=now)
                answered += 1
            except UnreachableError as error:
                down.add(tag.host)
                _note_down(tag, error, now=now, chance=chance)
    return answered


def _answer(tag: UpstreamTag, client: httpx.Client) -> tuple[Manifest, str] | PlannerError:
    """Return the published version and what it requires, or the answer that there is none.

    Raises ``UnreachableError``.
    """
    registry = ollama_registry()
    try:
        found = read_manifest(
            tag.name, client=client, ollama=registry, timeout=TIMEOUT, deadline_s=DEADLINE_S
        )
        known = UpstreamManifest.objects.filter(digest=found.digest).first()
        if known is not None:
            return found, known.requires
        return found, read_requires(tag.name, found, client=client, ollama=registry)
    except UnreachableError:
        raise
    except PlannerError as error:
        return error


def _note(tag: UpstreamTag, answer: tuple[Manifest, str] | PlannerError, *, now: datetime) -> None:
    UpstreamHost.objects.filter(host=tag.host).delete()
    changes: dict[str, Any] = {"checked_at": now, "error": ""}
    if isinstance(answer, NotPublishedError):
        changes |= _missing(tag, now)
    elif isinstance(answer, ClosedError):
        changes |= {"state": UpstreamState.CLOSED, "missing_since": None}
    elif isinstance(answer, PlannerError):
        # It answers, and makes no sense: what was known before stays.
        changes = {"error": str(answer)[:REASON_LENGTH]}
    else:
        changes |= _there(tag, *answer, now=now)
    _still(tag).update(**changes)
    log.info("upstream asked name=%s state=%s", tag.name, changes.get("state", tag.state))


def _there(tag: UpstreamTag, found: Manifest, requires: str, *, now: datetime) -> dict[str, Any]:
    layers = [[hex_of(each.digest), each.bytes, kind_of(each.kind)] for each in found.layers]
    fields = {"layers": layers, "requires": requires, "first_seen_at": now}
    try:
        with transaction.atomic():
            row, _ = UpstreamManifest.objects.get_or_create(digest=found.digest, defaults=fields)
    except IntegrityError:
        row = UpstreamManifest.objects.get(digest=found.digest)
    is_new = tag.manifest_id not in {None, row.pk}
    return {
        "state": UpstreamState.THERE,
        "was_there": True,
        "manifest": row,
        "missing_since": None,
        "changed_at": now if is_new else tag.changed_at,
    }


def _missing(tag: UpstreamTag, now: datetime) -> dict[str, Any]:
    """Believe it when it was said on two days: a registry may have a bad hour."""
    since = tag.missing_since or now
    if now - since < TWO_DAYS_APART and tag.state != UpstreamState.GONE:
        return {"state": UpstreamState.MISSING, "missing_since": since}
    gone = {"state": UpstreamState.GONE, "missing_since": since}
    return gone if tag.was_there else gone | {"next_at": now + NEVER_THERE_EVERY}


def _note_down(
    tag: UpstreamTag, error: UnreachableError, *, now: datetime, chance: random.Random
) -> None:
    """Leave a registry alone, longer each time, and ask for this name once it may answer."""
    host, _ = UpstreamHost.objects.get_or_create(host=tag.host)
    pause = min(FIRST_PAUSE * 2 ** min(host.failures, 10), LONGEST_PAUSE)
    pause = max(pause * (1 + chance.random() / 2), timedelta(seconds=error.wait_s))
    reason = str(error).partition(": ")[0].partition("; ")[0][:REASON_LENGTH]
    UpstreamHost.objects.filter(pk=host.pk).update(
        failures=host.failures + 1,
        not_before_at=now + pause,
        down_since=host.down_since or now,
        error=reason,
    )
    _still(tag).update(next_at=now + pause + FIRST_WITHIN * chance.random(), error=reason)
    log.warning("upstream is down host=%s for=%s: %s", tag.host, pause, error)


def _still(tag: UpstreamTag) -> Any:
    return UpstreamTag.objects.filter(pk=tag.pk, next_at=tag.next_at)
