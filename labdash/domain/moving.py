"""Models that go to another machine: pulled there, compared, and only then deleted here.

Every step is a conditional update on a row, so a hub that was restarted goes on where it stopped.
"""

import logging
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash.domain import naming, orders, pulls
from labdash.domain.errors import LabDashError
from labdash.domain.tidying import free_row, row_of
from labdash.models import (
    MOVE_ENDED,
    InstalledModel,
    Instance,
    Move,
    MoveState,
    NameState,
    PullState,
    UpstreamState,
    UpstreamTag,
)
from labdash.models.shelf import MoveQuerySet
from labdash.planner.placing.inventory import plain
from labdash.queries.needs import MOVED

log = logging.getLogger(__name__)

REASON_LENGTH = 500
KEPT = 100
ONE_STORE = "{} lists the very file that is here: both may have one store, so nothing is deleted."
# A worker tells of a model that arrived within seconds, and of all that it has every 5 minutes.
TOLD_WITHIN = timedelta(minutes=12)


def move(*, installed: InstalledModel, target: Instance, user: User | None) -> Move:
    """Begin to move a model. Raises ``LabDashError``."""
    if target.pk == installed.instance_id:
        raise LabDashError(f"{installed.name} is on {target} already.")
    free_row(installed)
    there = _at(target, installed.name)
    if there is not None and there.digest != installed.digest:
        raise LabDashError(
            f"{target} has another version of {installed.name}: delete that first, or keep both."
        )
    if there is not None and _is_one_file(installed, there):
        raise LabDashError(ONE_STORE.format(target))
    if there is None:
        _require_published(installed)
    try:
        with transaction.atomic():
            job = Move.objects.create(
                instance=installed.instance,
                target=target,
                model=installed.name,
                digest=installed.digest,
                requested_by=user,
                step_at=timezone.now(),
            )
            if there is None:
                pull = pulls.request_pull(instance=target, model=installed.name, user=user)
                job.pull_job = pull
                job.save(update_fields=["pull_job"])
    except IntegrityError:
        raise LabDashError(f"{installed.name} is being moved already.") from None
    return job


def _require_published(installed: InstalledModel) -> None:
    """Refuse what would bring another version there, after all of its bytes had come."""
    tags = UpstreamTag.objects.filter(name__iexact=installed.name, state=UpstreamState.THERE)
    if tags.exclude(manifest=None).exclude(manifest__digest=installed.digest).exists():
        raise LabDashError(
            f"What is published as {installed.name} is not the version that is here, so another one"
            " would come. Pull it here first, then move it."
        )


def cancel(*, job: Move) -> None:
    """Stop a move; what has arrived stays there, and what is here stays too."""
    changed = Move.objects.active().filter(pk=job.pk)
    reason = f"Cancelled. What has arrived on {job.target} stays there."
    if not changed.update(state=MoveState.CANCELLED, reason=reason, finished_at=timezone.now()):
        return
    if job.pull_job is not None and job.pull_job.is_active:
        pulls.cancel_pull(job=job.pull_job)
    if job.name_job is not None and job.name_job.is_active:
        naming.cancel(job=job.name_job)


def carry_on(*, now: datetime) -> int:
    """Take the step that is due of each move; return how many were taken."""
    rows = Move.objects.active().select_related(
        "instance__node", "target__node", "pull_job", "name_job"
    )
    return sum(_carry_on(job, now=now) for job in rows)


def prune(*, now: datetime) -> int:
    """Delete the moves that have ended and are not among the newest; return how many."""
    ended = Move.objects.filter(state__in=MOVE_ENDED)
    kept = list(ended.values_list("pk", flat=True)[:KEPT])
    return ended.filter(created_at__lt=now).exclude(pk__in=kept).delete()[0]


def _carry_on(job: Move, *, now: datetime) -> bool:
    match job.state:
        case MoveState.PULLING:
            return _follow_pull(job, now=now)
        case MoveState.CHECKING:
            return _compare(job, now=now)
        case _:
            return _delete(job, now=now)


def _follow_pull(job: Move, *, now: datetime) -> bool:
    pull = job.pull_job
    if pull is None:
        # It was there before, or the row of the pull was deleted: comparing tells.
        return _ask(job, now=now)
    if pull.state in {PullState.FAILED, PullState.CANCELLED}:
        why = pull.reason or f"The pull was {pull.get_state_display()}."
        return _fail(job, f"It did not arrive on {job.target}, so it stays here. {why}", now=now)
    return pull.state == PullState.INSTALLED and _ask(job, now=now)


def _ask(job: Move, *, now: datetime) -> bool:
    """Let both sides tell what they have; a report that is lost comes again by itself."""
    for node in (job.target.node, job.instance.node):
        try:
            orders.send_refresh(node)
        except orders.NotSent as error:
            log.info("not asked move=%d: %s", job.pk, error)
    return _step(job, MoveState.CHECKING, now=now)


def _compare(job: Move, *, now: datetime) -> bool:
    """Let only the same manifest there stand for the one here, by what is told from now on."""
    there, since = _at(job.target, job.model), job.step_at or job.created_at
    told_at = job.target.inventory_at
    if there is not None and told_at is not None and told_at > since:
        if there.digest == job.digest:
            return _step(job, MoveState.DELETING, now=now)
        text = f"What arrived on {job.target} is another version, so this one stays here too."
        return _fail(job, text, now=now)
    if now - since > TOLD_WITHIN:
        text = f"{job.target} did not tell of it, so it stays here."
        return _fail(job, text, now=now)
    return False


def _delete(job: Move, *, now: datetime) -> bool:
    order = job.name_job
    if order is None:
        return _order(job, now=now)
    if order.state == NameState.DONE:
        return _end(job, MoveState.DONE, "", now=now)
    if order.is_active:
        return False
    text = f"It is on {job.target} now; here it could not be deleted. {order.meaning}"
    return _fail(job, text, now=now)


def _order(job: Move, *, now: datetime) -> bool:
    """Look at both sides once more, and order the deletion here."""
    here, there = _at(job.instance, job.model), _at(job.target, job.model)
    if here is None:
        return _end(job, MoveState.DONE, "It was deleted here already.", now=now)
    if why_not := _why_it_stays(job, here, there):
        return _fail(job, why_not, now=now)
    if unsure := _untold(job, now=now):
        return _explain(job, f"Waits to be deleted here: {unsure}")
    row, why = row_of(here), f"moved to {job.target}"
    needs = [need.text for need in row.needs if need.binds and need != MOVED] if row else []
    if needs:
        return _explain(job, f"Waits to be deleted here: {needs[0]}.")
    frees = row.frees_bytes if row else None
    try:
        order = naming.delete(installed=here, frees_bytes=frees, user=job.requested_by, why=why)
    except LabDashError as error:
        return _explain(job, f"Waits to be deleted here: {error}")
    return bool(_still(job).update(name_job=order, reason=""))


def _why_it_stays(job: Move, here: InstalledModel, there: InstalledModel | None) -> str:
    if there is None or there.digest != job.digest:
        return f"It is not on {job.target} any more, so it stays here."
    if _is_one_file(here, there):
        return ONE_STORE.format(job.target)
    return "" if here.digest == job.digest else "It was changed here in the meantime, so it stays."


def _untold(job: Move, *, now: datetime) -> str:
    """Say who has not told of its models lately: what was there days ago may be lost by now.

    This side has to have told since the pull, too: in one store with the other it changed with it.
    """
    pulled_at = job.pull_job.finished_at if job.pull_job else None
    sides = ((job.target, now - TOLD_WITHIN), (job.instance, pulled_at or job.created_at))
    for instance, since in sides:
        if instance.inventory_at is None or instance.inventory_at < since:
            return f"{instance} has not told lately what it has."
    return ""


def _at(instance: Instance, name: str) -> InstalledModel | None:
    """Find a name on a server as Ollama compares names."""
    wanted = plain(name)
    rows = InstalledModel.objects.filter(instance=instance).select_related("instance__node")
    return next((row for row in rows if plain(row.name) == wanted), None)


def _is_one_file(here: InstalledModel, there: InstalledModel) -> bool:
    """Tell by its date whether both servers list one manifest: a pulled one has a date of its own.

    Two servers may have one store, and one server may be known under two names.
    """
    return here.modified_at == there.modified_at


def _still(job: Move) -> MoveQuerySet:
    """Select the move if nothing happened to it since it was read."""
    return Move.objects.filter(pk=job.pk, state=job.state)


def _step(job: Move, state: MoveState, *, now: datetime) -> bool:
    return bool(_still(job).update(state=state, step_at=now, reason=""))


def _explain(job: Move, reason: str) -> bool:
    return job.reason != reason and bool(_still(job).update(reason=reason[:REASON_LENGTH]))


def _fail(job: Move, reason: str, *, now: datetime) -> bool:
    return _end(job, MoveState.FAILED, reason, now=now)


def _end(job: Move, state: MoveState, reason: str, *, now: datetime) -> bool:
    changes = {"state": state, "reason": reason[:REASON_LENGTH], "finished_at": now}
    ended = bool(_still(job).update(**changes))
    if ended:
        log.info("move ended move=%d state=%s", job.pk, state)
    return ended
