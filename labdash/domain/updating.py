"""Carry updates on: keep the version before, pull, see the new one in memory, give the old one up.

Every step is a conditional update, so this may run twice at once: who changes no row lost.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from labdash import live
from labdash.domain import naming, pulls, updates
from labdash.domain.errors import LabDashError
from labdash.domain.names import kept_name
from labdash.domain.renewing import renew
from labdash.models import (
    UPDATE_ENDED,
    InstalledModel,
    NameAct,
    NameJob,
    NameState,
    Node,
    PullJob,
    PullState,
    Update,
    UpdateState,
)
from labdash.planner.placing.inventory import plain
from labdash.queries.lab import NodeView, view_node

log = logging.getLogger(__name__)

REASON_LENGTH = 500
DAY = timedelta(days=1)
# What a server lists so long after a pull is what the pull brought.
TOLD_WITHIN = timedelta(minutes=1)
# A name that could not be deleted, as its node was asleep, is tried again after this.
AGAIN_AFTER = timedelta(minutes=10)
# A pull that failed or was cancelled while Ollama checked the files comes in place all the same.
# Checking the largest on a slow disk takes less than this.
LATE_WITHIN = timedelta(hours=1)


def carry_on(*, now: datetime) -> int:
    """Take all steps that are due; return how many.

    Does nothing while the store is down or nobody reads reports: silence means nothing then.
    """
    rows = list(_open_rows())
    if not rows:
        return 0
    try:
        views = _views({row.instance.node for row in rows}, now=now)
    except live.StoreDown as error:
        log.warning("updates wait for the store: %s", error)
        return 0
    return sum(_apart(row, views[row.instance.node_id], now=now) for row in rows if views)


def _open_rows() -> Iterable[Update]:
    """Return what is under way, and what has ended and left something to be done."""
    rows = Update.objects.select_related("instance__node", "name_job", "pull_job", "requested_by")
    is_open = ~Q(state__in=[*UPDATE_ENDED, UpdateState.ASKED])
    return rows.filter(is_open | Q(renews=True) | ~Q(kept_name="")).order_by("pk")


def _views(nodes: Iterable[Node], *, now: datetime) -> dict[int, NodeView]:
    found = live.read_live(node.slug for node in nodes)
    if not found.intake_alive:
        return {}
    return {node.pk: view_node(node, found.states.get(node.slug), now=now) for node in nodes}


def _apart(row: Update, view: NodeView, *, now: datetime) -> bool:
    """Let what goes wrong with one update hold up no other; it is tried again at the next tick."""
    try:
        return _step(row, view, now=now)
    except LabDashError as error:
        reason = str(error)[:REASON_LENGTH]
        return row.is_active and row.reason != reason and _change(row, reason=reason)
    except live.StoreDown:
        return False
    except Exception:
        log.exception("a step of an update went wrong update=%d", row.pk)
        return False


def _step(row: Update, view: NodeView, *, now: datetime) -> bool:
    if row.renews and row.state in {UpdateState.TRYING, UpdateState.RETURNED, UpdateState.DONE}:
        return renew(row, view) and _change(row, renews=False)
    if row.state == UpdateState.TRYING:
        return _is_in_memory(row, view) and _finish(row, UpdateState.DONE, now=now)
    steps = {
        UpdateState.WAITING: _keep,
        UpdateState.COPYING: _pull,
        UpdateState.PULLING: _arrive,
        UpdateState.RETURNING: _go_back,
    }
    return steps.get(UpdateState(row.state), _forget)(row, now=now)


# --- there ---------------------------------------------------------------------------------------


def _keep(row: Update, *, now: datetime) -> bool:
    """Give the version that is there a second name, once its time has come."""
    if row.not_after_at is not None and row.not_after_at <= now:
        # That of a schedule goes on when its schedule says so.
        return row.run_id is None and _next_night(row, row.not_after_at, now=now)
    if row.not_before_at is not None and row.not_before_at > now:
        return False
    installed = _installed(row, row.model)
    if installed is None:
        reason = f"{row.model} is not on {row.instance} any more."
        return _finish(row, UpdateState.FAILED, now=now, reason=reason)
    if installed.digest == row.to_digest:
        reason = "It was updated in the meantime."
        return _finish(row, UpdateState.DONE, now=now, reason=reason)
    if row.kept_name and _installed(row, row.kept_name) is not None:
        # An earlier version is kept already, and the one that is here was never in memory.
        return _request(row, now=now, kept=row.kept_name, from_digest=installed.digest)
    job = naming.request(
        NameJob(
            instance=row.instance,
            act=NameAct.COPY,
            model=installed.name,
            target=kept_name(installed.name),
            digest=installed.digest,
            replaces=True,
            why="kept before an update",
            requested_by=row.requested_by,
        )
    )
    return _move(
        row, UpdateState.COPYING, now=now, name_job=job, from_digest=installed.digest, reason=""
    )


def _next_night(row: Update, ended_at: datetime, *, now: datetime) -> bool:
    """Put off to the next window what could not begin in its own: its node or the hub slept."""
    later = _later(row.not_before_at, ended_at, now=now)
    return _change(row, **later, reason="It could not begin last night, and waits for the next.")


def _later(
    begins: datetime | None, ended_at: datetime, *, now: datetime
) -> dict[str, datetime | None]:
    """Return the next window of a night that is over, by the clock of the lab."""
    zone, days = updates.lab_zone(), (now - ended_at) // DAY + 1
    moved = (each and each.astimezone(zone) + days * DAY for each in (begins, ended_at))
    return dict(zip(("not_before_at", "not_after_at"), moved, strict=True))


def _pull(row: Update, *, now: datetime) -> bool:
    job = row.name_job
    if job is None:
        return _move(row, UpdateState.WAITING, now=now)
    if job.is_active:
        return False
    if job.state == NameState.DONE:
        return _request(row, now=now, kept=job.target)
    why = (job.meaning or job.reason or "The version before could not be kept.")[:REASON_LENGTH]
    if job.heartbeat_at is None and now - row.created_at < DAY:
        # Nobody took it up: its node fell asleep.
        return _move(row, UpdateState.WAITING, now=now, name_job=None, reason=why)
    return _finish(row, UpdateState.FAILED, now=now, reason=why)


def _request(row: Update, *, now: datetime, kept: str, **changes: Any) -> bool:
    """Ask for the pull, within the update's own window."""
    changes["kept_name"] = kept
    try:
        pull = pulls.request_pull(
            instance=row.instance,
            model=row.model,
            user=row.requested_by,
            run=row.run,
            priority=row.priority,
            not_before_at=row.not_before_at,
            not_after_at=row.not_after_at,
        )
    except LabDashError as error:
        return _finish(row, UpdateState.FAILED, now=now, reason=str(error), **changes)
    return _move(row, UpdateState.PULLING, now=now, pull_job=pull, reason="", **changes)


def _arrive(row: Update, *, now: datetime) -> bool:
    """See what a pull came to: its server's own list of models has the last word."""
    job, installed = row.pull_job, _installed(row, row.model)
    if installed is not None and installed.digest != row.from_digest:
        changes = {"to_digest": installed.digest, "renews": True, "reason": ""}
        return _move(row, UpdateState.TRYING, now=now, **changes)
    if job is not None and job.is_active:
        return _go_on(job, now=now)
    if job is None or job.state == PullState.INSTALLED:
        return _nothing_new(row, now=now)
    ends = {PullState.CANCELLED: UpdateState.CANCELLED}
    state = ends.get(PullState(job.state), UpdateState.FAILED)
    return _finish(row, state, now=now, reason=job.reason)


def _go_on(job: PullJob, *, now: datetime) -> bool:
    """Let a pull whose night ended before it was done go on in the next one."""
    if job.run_id is not None or job.not_after_at is None or job.not_after_at > now:
        return False
    return pulls.move_window(job=job, **_later(job.not_before_at, job.not_after_at, now=now))


def _nothing_new(row: Update, *, now: datetime) -> bool:
    """End what brought nothing new, once its server has had the time to list it."""
    ended_at = row.pull_job.finished_at if row.pull_job else None
    if not _has_told(row, since=ended_at or row.step_at):
        return False
    reason = "The pull brought the version that was there already."
    return _finish(row, UpdateState.DONE, now=now, reason=reason)


def _is_in_memory(row: Update, view: NodeView) -> bool:
    """Tell whether the new version was loaded, by its own name or by one made from it since."""
    if view.sample is None:
        return False
    readings = [each for each in view.sample.instances if each.name == row.instance.name]
    digests = {model.digest for each in readings for model in each.loaded or ()}
    if row.to_digest in digests:
        return True
    new = _installed(row, row.model)
    if new is None or new.variant_id is None:
        return False
    made = row.instance.installed_models.filter(digest__in=digests, variant=new.variant_id)
    return any(
        plain(each.parent_model) == plain(row.model) and each.modified_at >= new.modified_at
        for each in made
    )


# --- and back ------------------------------------------------------------------------------------


def _go_back(row: Update, *, now: datetime) -> bool:
    job, kept = row.name_job, _installed(row, row.kept_name)
    if kept is None:
        why = f"{row.kept_name} is not there any more."
        return _finish(row, UpdateState.DONE, now=now, reason=why, kept_name="")
    if job is None:
        fresh = NameJob(
            instance=row.instance,
            act=NameAct.COPY,
            model=kept.name,
            target=row.model,
            digest=kept.digest,
            replaces=True,
            why="back to the version before",
        )
        return _change(row, name_job=naming.request(fresh), reason="")
    if job.is_active:
        return False
    if job.state != NameState.DONE:
        why = job.meaning or job.reason or "It could not be taken back."
        return _move(row, UpdateState.TRYING, now=now, reason=why, name_job=None)
    installed = _installed(row, row.model)
    if installed is None or installed.digest != kept.digest:
        # Its server has not told yet; the names of a plan are made from what it lists.
        return False
    return _finish(row, UpdateState.RETURNED, now=now, renews=True)


def _forget(row: Update, *, now: datetime) -> bool:
    """Delete the version before once it is not needed any more, and nothing else has its name."""
    others = Update.objects.active().filter(instance=row.instance, model__iexact=row.model)
    kept = _installed(row, row.kept_name)
    is_gone = kept is None and _has_told(row, since=row.step_at)
    if is_gone or others.filter(kept_name=row.kept_name).exists():
        return _change(row, kept_name="")
    if kept is None or others.filter(state=UpdateState.COPYING).exists():
        # It is not listed yet, or the next update is about to keep another version by that name.
        return False
    if row.state in {UpdateState.FAILED, UpdateState.CANCELLED}:
        installed = _installed(row, row.model)
        if installed is not None and installed.digest != row.from_digest and not others.exists():
            late = {"to_digest": installed.digest, "renews": True, "finished_at": None}
            return _move(row, UpdateState.TRYING, now=now, reason="", **late)
        if row.finished_at is not None and now - row.finished_at < LATE_WITHIN:
            return False
    job = row.name_job
    was_tried = job is not None and job.act == NameAct.DELETE and job.finished_at is not None
    if job is not None and (
        job.is_active or (was_tried and now - (job.finished_at or now) < AGAIN_AFTER)
    ):
        return False
    fresh = naming.delete(installed=kept, frees_bytes=None, user=None, why="the update is done")
    return _change(row, name_job=fresh)


# --- rows ----------------------------------------------------------------------------------------


def _installed(row: Update, name: str) -> InstalledModel | None:
    models = row.instance.installed_models.filter(name__iexact=name)
    return models.select_related("instance__node").first()


def _has_told(row: Update, *, since: datetime | None) -> bool:
    """Tell whether a server has listed its models well after a moment."""
    told_at = row.instance.inventory_at
    return since is not None and told_at is not None and told_at >= since + TOLD_WITHIN


def _move(row: Update, state: UpdateState, *, now: datetime, **changes: Any) -> bool:
    return _change(row, state=state, step_at=now, **changes)


def _finish(
    row: Update, state: UpdateState, *, now: datetime, reason: str = "", **changes: Any
) -> bool:
    reason = reason[:REASON_LENGTH]
    ended = _move(row, state, now=now, finished_at=now, reason=reason, **changes)
    if ended:
        log.info("update ended update=%d state=%s reason=%s", row.pk, state, reason)
    return ended


def _change(row: Update, **changes: Any) -> bool:
    """Change a row if nothing happened to it since it was read."""
    seen = {"state": row.state, "name_job": row.name_job, "pull_job": row.pull_job}
    return bool(Update.objects.filter(pk=row.pk, **seen).update(**changes))
