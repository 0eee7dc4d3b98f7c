"""What a person or a schedule does with updates. ``domain.updating`` carries them on from there.

Before a new version is pulled, the one before gets a second name on its server, which takes no room
of its own until the new one has arrived; it is given up once the new one has been in memory.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash.domain import pulls, upstream
from labdash.domain.errors import LabDashError
from labdash.models import (
    HELD_BACK,
    UPDATE_ENDED,
    Instance,
    PullSettings,
    ScheduleRun,
    Update,
    UpdateState,
)
from labdash.models.schedule import USUAL_PRIORITY
from labdash.queries.limits import zone_of
from labdash.queries.radar import Copy, read_radar

log = logging.getLogger(__name__)

# When a lab sleeps, by its own clock.
NIGHT_FROM, NIGHT_TO = time(2), time(6)
KEPT = timedelta(days=180)
# An update that was not begun yet, or that is asked about, can still be what somebody wants.
_OPEN = (UpdateState.ASKED, UpdateState.WAITING)


@dataclass(frozen=True, kw_only=True)
class When:
    """From when to when an update may run, and how soon among others."""

    priority: int = USUAL_PRIORITY
    not_before_at: datetime | None = None
    not_after_at: datetime | None = None


NOW = When()


def outdated(
    instances: Iterable[Instance] | None = None, models: Iterable[str] | None = None
) -> tuple[Copy, ...]:
    """Return what is older than what is published; what was kept back by somebody is not."""
    wanted = None if models is None else {model.lower() for model in models}
    return tuple(
        copy
        for line in read_radar(instances)
        if wanted is None or line.name.lower() in wanted
        for copy in line.newer
    )


def update(
    *, copy: Copy, user: User | None, when: When = NOW, run: ScheduleRun | None = None
) -> Update:
    """Update a name on a server, now or in a window; return the update that is under way for it.

    Raises ``LabDashError`` where it cannot be.
    """
    if copy.parent:
        raise LabDashError(f"{copy.installed.name} was made from {copy.parent}: make it anew.")
    if copy.needs:
        raise LabDashError(_too_old(copy))
    if copy.standing not in {"newer", "held"}:
        raise LabDashError(f"{copy.installed.name} on {copy.instance} is not outdated.")
    return _begin(copy, UpdateState.WAITING, user=user, when=when, run=run)


def take(
    *,
    instances: Iterable[Instance] | None = None,
    models: Iterable[str] | None = None,
    user: User | None = None,
    when: When = NOW,
    run: ScheduleRun | None = None,
) -> tuple[tuple[Update, ...], tuple[str, ...]]:
    """Update all that is outdated; return the updates, and sentences on what cannot be."""
    begun, notes = [], []
    for copy in outdated(instances, models):
        try:
            begun.append(update(copy=copy, user=user, when=when, run=run))
        except LabDashError as error:
            notes.append(str(error))
    return tuple(begun), tuple(notes)


def ask(
    *,
    instances: Iterable[Instance] | None = None,
    models: Iterable[str] | None = None,
    when: When = NOW,
    run: ScheduleRun | None = None,
    now: datetime | None = None,
) -> tuple[Update, ...]:
    """Put all that is outdated before the owner, to be taken with one click or left.

    What was not asked for in the last hour is soon.
    """
    places = None if instances is None else tuple(instances)
    upstream.hurry((line.name for line in read_radar(places)), now=now or timezone.now())
    return tuple(
        _begin(copy, UpdateState.ASKED, user=None, when=when, run=run)
        for copy in outdated(places, models)
        if copy.is_free
    )


def tonight(*, now: datetime) -> When:
    """Return the coming night of the lab's own clock, or what is left of this one."""
    zone = lab_zone()
    local = now.astimezone(zone)
    day = local.date() + timedelta(days=int(local.time() >= NIGHT_TO))
    starts = datetime.combine(day, NIGHT_FROM, tzinfo=zone)
    ends = datetime.combine(day, NIGHT_TO, tzinfo=zone)
    return When(not_before_at=starts, not_after_at=ends)


def lab_zone() -> ZoneInfo:
    """Return the zone in which the lab sleeps."""
    return zone_of(PullSettings.read())


def cancel(*, update: Update) -> None:
    """Give an update up that is not in place yet; the version that is there stays."""
    if update.state in _OPEN:
        _end(update, UpdateState.CANCELLED, _OPEN)
    elif update.state == UpdateState.COPYING:
        # The second name may come yet: it is deleted then, as after an update.
        kept = update.name_job.target if update.name_job else update.kept_name
        _end(update, UpdateState.CANCELLED, [UpdateState.COPYING], kept_name=kept)
    elif update.state == UpdateState.PULLING and update.pull_job is not None:
        pulls.cancel_pull(job=update.pull_job)
    update.refresh_from_db()


def decline(*, copy: Copy) -> Update:
    """Keep the version that is here: the published one is not offered again. A newer one is."""
    if copy.standing != "newer" or not (copy.is_idle or _is_open(copy.update)):
        raise LabDashError(f"{copy.installed.name} on {copy.instance} has nothing to keep back.")
    if copy.update is not None and _is_open(copy.update):
        _end(copy.update, UpdateState.DECLINED, _OPEN)
        return copy.update
    return Update.objects.create(
        **_fields(copy), state=UpdateState.DECLINED, finished_at=timezone.now()
    )


def offer_again(*, copy: Copy) -> None:
    """Take back that a version is not wanted."""
    rows = Update.objects.filter(instance=copy.instance, model__iexact=copy.installed.name)
    rows.filter(state__in=HELD_BACK).update(state=UpdateState.CANCELLED)


def roll_back(*, update: Update) -> None:
    """Go back to the version before, which is kept until the new one has been in memory."""
    still = Update.objects.filter(pk=update.pk, state=UpdateState.TRYING).exclude(kept_name="")
    changes: dict[str, Any] = {"state": UpdateState.RETURNING, "name_job": None, "reason": ""}
    if not still.update(**changes, step_at=timezone.now()):
        raise LabDashError(f"The version before of {update} is not kept any more.")
    update.refresh_from_db()


def settle(*, update: Update) -> None:
    """Give up the version before at once: the new one is to stay."""
    _end(update, UpdateState.DONE, [UpdateState.TRYING])
    update.refresh_from_db()


def prune(*, now: datetime) -> int:
    """Forget updates of long ago; what was kept back stays so."""
    old = Update.objects.filter(state__in=UPDATE_ENDED, finished_at__lt=now - KEPT, kept_name="")
    return old.exclude(state__in=HELD_BACK).delete()[1].get("labdash.Update", 0)


def _begin(
    copy: Copy, state: UpdateState, *, user: User | None, when: When, run: ScheduleRun | None
) -> Update:
    times = {"not_before_at": when.not_before_at, "not_after_at": when.not_after_at}
    fields = {**_fields(copy), **times, "priority": when.priority, "run": run}
    active = Update.objects.active().filter(
        instance=copy.instance, model__iexact=copy.installed.name
    )
    row = active.first()
    if row is not None and row.state == UpdateState.TRYING:
        return _once_more(row, {**fields, "state": state, "requested_by": user})
    if row is None:
        try:
            with transaction.atomic():
                return Update.objects.create(**fields, state=state, requested_by=user)
        except IntegrityError:
            # Somebody else asked for it in this moment.
            row = active.get()
    if state == UpdateState.WAITING and row.state in _OPEN:
        wanted = {**times, "state": state, "to_digest": fields["to_digest"]}
        Update.objects.filter(pk=row.pk, state=row.state).update(**wanted, requested_by=user)
        row.refresh_from_db()
    return row


def _once_more(row: Update, fields: dict[str, Any]) -> Update:
    """Go on to a still newer version; what is kept stays the last one that was in memory."""
    with transaction.atomic():
        still = Update.objects.filter(pk=row.pk, state=UpdateState.TRYING, kept_name=row.kept_name)
        ended = {"state": UpdateState.DONE, "kept_name": "", "finished_at": timezone.now()}
        if not still.update(**ended, reason="A newer version came before it was loaded."):
            raise LabDashError(f"Something else was done to {row} just now. Try again.")
        return Update.objects.create(**fields, kept_name=row.kept_name)


def _is_open(update: Update | None) -> bool:
    return update is not None and update.state in _OPEN


def _fields(copy: Copy) -> dict[str, Any]:
    return {
        "instance": copy.instance,
        "model": copy.installed.name,
        "from_digest": copy.installed.digest,
        "to_digest": copy.published_digest,
    }


def _end(update: Update, state: UpdateState, among: Iterable[UpdateState], **changes: Any) -> None:
    still = Update.objects.filter(pk=update.pk, state__in=list(among))
    now = timezone.now()
    still.update(state=state, finished_at=now, step_at=now, reason="", **changes)


def _too_old(copy: Copy) -> str:
    return (
        f"The new {copy.installed.name} needs Ollama {copy.needs}: {copy.instance} runs"
        f" {copy.instance.version}. Update Ollama there first."
    )
