"""One run of a schedule: begun, carried on by turns, closed with its window, or stopped."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from labdash.domain import (
    pulls,
    schedule_asking,
    schedule_cards,
    schedule_turns,
    schedule_updates,
)
from labdash.models import (
    PullJob,
    PullSchedule,
    PullState,
    RunState,
    ScheduleRun,
    Update,
    UpdateState,
)
from labdash.models.pull import PullJobQuerySet
from labdash.queries import due
from labdash.queries.run_words import Part, ended_words, left_words

log = logging.getLogger(__name__)

KEPT = timedelta(days=180)
STOPPED, TAKEN = "Stopped by hand.", "The GPUs were taken again."
CANCELLED = "Cancelled with its schedule."
# So soon a pull that failed is tried again without losing its machine's turn.
SOON = timedelta(minutes=5)


def start(  # noqa: PLR0913 - keyword only, and each says when or for whom
    *,
    schedule: PullSchedule,
    due_at: datetime,
    window: due.Window,
    now: datetime,
    notes: Iterable[str] = (),
    user: User | None = None,
    by_hand: bool = False,
) -> ScheduleRun | None:
    """Ask for all that a schedule wants; None where another process did so for the same time."""
    run = ScheduleRun(
        schedule=schedule,
        due_at=due_at,
        started_at=now,
        ends_at=window.closes_at,
        by_hand=by_hand,
        requested_by=user,
        notes=list(notes),
    )
    with transaction.atomic():
        if not _is_first(run):
            return None
        if schedule.gives_gpus:
            schedule_cards.give(run=run)
        else:
            schedule_asking.ask(run=run, window=window, now=now)
    log.info("schedule started schedule=%s run=%d due=%s", schedule, run.pk, due_at.isoformat())
    if not PullJob.objects.filter(run=run).exists():
        # It may be over already.
        carry_on(runs=[run], now=now)
    return run


def note_missed(*, schedule: PullSchedule, found: due.Due, now: datetime) -> None:
    """Write down that a time came and went."""
    more = f" So did {found.passed} before it." if found.passed else ""
    run = ScheduleRun(
        schedule=schedule,
        due_at=found.due_at,
        started_at=now,
        finished_at=now,
        state=RunState.MISSED,
        text=f"It passed while the hub was off.{more}",
    )
    # Whoever was first has written it.
    ScheduleRun.objects.bulk_create([run], ignore_conflicts=True)


def stop(*, run: ScheduleRun, now: datetime) -> None:
    """End a run: what it asked for and has not arrived is cancelled, cards are taken again."""
    if _end(run, RunState.STOPPED, STOPPED, now):
        _cancel(ScheduleRun.objects.filter(pk=run.pk), now)
        schedule_cards.take(run=run)
    run.refresh_from_db()


def end_all(*, schedule: PullSchedule, now: datetime) -> None:
    """Stop what runs of a schedule, and cancel what earlier runs left."""
    for run in schedule.runs.running():
        stop(run=run, now=now)
    _cancel(ScheduleRun.objects.filter(schedule=schedule), now)


def move_left(*, schedule: PullSchedule, now: datetime) -> None:
    """Let what is left of runs that are over go on in the next window, if there is one."""
    window = _following(schedule, now)
    if window is not None:
        over = ScheduleRun.objects.filter(schedule=schedule).exclude(state=RunState.RUNNING)
        bounds = {"not_before_at": window.opens_at, "not_after_at": window.closes_at}
        PullJob.objects.active().filter(run__in=over).update(**bounds, waits="")
        schedule_updates.move(runs=over, **bounds)


def move_end(*, schedule: PullSchedule, now: datetime) -> None:
    """Let what runs end with a window that was changed; pulls by hand are bound to none."""
    for run in schedule.runs.running():
        if run.by_hand and not schedule.gives_gpus:
            continue
        bounds = {"not_before_at": now, "not_after_at": due.closing(schedule, run.started_at)}
        same = ScheduleRun.objects.running().filter(pk=run.pk)
        if same.update(ends_at=bounds["not_after_at"]):
            PullJob.objects.active().filter(run=run).update(**bounds)
            schedule_updates.move(runs=same, **bounds)


def carry_on(*, runs: Collection[ScheduleRun], now: datetime) -> None:
    """Take what step is due of each run: its end, its window's end, or other machines' turn."""
    parts, updating = _parts_of(runs, now), _updating(runs)
    ready = schedule_turns.awake(now=now) if any(run.schedule.at_once for run in runs) else ()
    for run in runs:
        _carry_on(run, parts[run.pk], updating.get(run.pk, []), ready, now)


def prune(*, now: datetime) -> int:
    """Forget runs of long ago."""
    old = ScheduleRun.objects.exclude(state=RunState.RUNNING).filter(started_at__lt=now - KEPT)
    return old.delete()[1].get("labdash.ScheduleRun", 0)


def _is_first(run: ScheduleRun) -> bool:
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _parts_of(runs: Collection[ScheduleRun], now: datetime) -> Mapping[int, list[Part]]:
    """Return the jobs of each run, with those that it joined."""
    joined = defaultdict(list)
    for run in runs:
        for key in run.joined:
            joined[key].append(run.pk)
    found: dict[int, list[Part]] = {run.pk: [] for run in runs}
    rows = PullJob.objects.filter(Q(run__in=list(found)) | Q(pk__in=list(joined))).order_by()
    # Of thousands of jobs that is a tenth of the time that rows take.
    fields = ("pk", "run", "model", "instance__node__slug", "state", "reason", "waits")
    times = ("held", "sent_at", "rest_until_at", "retry_at")
    for key, run, model, node, state, reason, waits, *stands in rows.values_list(*fields, *times):
        part = Part(key, run, model, node, state, reason, waits, *_standing(*stands, now=now))
        for each in {run, *joined.get(key, ())}:
            if each in found:
                found[each].append(part)
    return found


def _standing(
    held: bool,  # noqa: FBT001 - as its row has it
    sent_at: datetime | None,
    rest_until_at: datetime | None,
    retry_at: datetime | None,
    *,
    now: datetime,
) -> tuple[bool, bool]:
    """Return whether a job has its server, and whether it would not begin if it had its turn."""
    rests = rest_until_at is not None and rest_until_at > now and not held
    is_far = retry_at is not None and retry_at > now + SOON
    is_busy = sent_at is not None or rests
    return is_busy, not is_busy and (held or is_far)


def _updating(runs: Collection[ScheduleRun]) -> Mapping[int, list[str]]:
    """Return the states of those updates of each run that no job stands for."""
    rows = Update.objects.filter(run__in=[run.pk for run in runs], pull_job=None)
    rows = rows.exclude(state=UpdateState.ASKED)
    found: dict[int, list[str]] = defaultdict(list)
    for run, state in rows.order_by().values_list("run_id", "state"):
        found[run or 0].append(state)
    return found


def _carry_on(
    run: ScheduleRun,
    parts: Collection[Part],
    updating: Sequence[str],
    ready: Collection[str],
    now: datetime,
) -> None:
    is_over = run.ends_at is not None and now >= run.ends_at
    left = [part for part in parts if part.is_active]
    waiting = sum(state in schedule_updates.UNDER_WAY for state in updating)
    if run.schedule.gives_gpus:
        if is_over and _end(run, RunState.FINISHED, TAKEN, now):
            schedule_cards.take(run=run)
    elif not left and not waiting:
        lost = updating.count(UpdateState.FAILED)
        failed = lost or any(part.state == PullState.FAILED for part in parts)
        text = ended_words(run, parts, lost)
        _end(run, RunState.FAILED if failed else RunState.FINISHED, text, now)
    elif is_over:
        _close(run, len(left) + waiting, len(parts) + len(updating), now)
    elif run.schedule.at_once or any(part.waits for part in left):
        # That may have been changed while it runs: then nobody waits for a turn any more.
        schedule_turns.take_turns(run=run, left=left, ready=ready)


def _close(run: ScheduleRun, left: int, of: int, now: datetime) -> None:
    """End a run with its window, and let the rest wait for the next one."""
    text = left_words(left, of, _following(run.schedule, now), run.schedule, now)
    with transaction.atomic():
        if _end(run, RunState.UNFINISHED, text, now):
            move_left(schedule=run.schedule, now=now)


def _following(schedule: PullSchedule, now: datetime) -> due.Window | None:
    """Return when a schedule is due next: never while it is paused, or cannot be read any more."""
    try:
        return None if schedule.paused else due.next_window(schedule, now)
    except ValueError as error:
        log.warning("schedule not read schedule=%s: %s", schedule, error)
        return None


def _end(run: ScheduleRun, state: RunState, text: str, now: datetime) -> bool:
    still = ScheduleRun.objects.running().filter(pk=run.pk)
    ended = bool(still.update(state=state, text=text[:500], finished_at=now))
    if ended:
        log.info("schedule ended schedule=%s run=%d state=%s", run.schedule, run.pk, state)
    return ended


def _cancel(runs: QuerySet[ScheduleRun], now: datetime) -> None:
    """Cancel what nobody else waits for: at once where no node has it, else by its flag."""
    jobs = PullJob.objects.filter(run__in=runs)
    _hand_on(jobs)
    schedule_updates.cancel(runs=runs)
    unsent = jobs.active().filter(attempt=0, sent_at=None)
    unsent.update(
        state=PullState.CANCELLED, cancel_requested=True, finished_at=now, reason=CANCELLED
    )
    for job in jobs.active().select_related("instance__node"):
        pulls.cancel_pull(job=job)


def _hand_on(jobs: PullJobQuerySet) -> None:
    """Let a job that another schedule joined be that one's."""
    for run in ScheduleRun.objects.running().exclude(joined=[]):
        shared = jobs.active().filter(pk__in=run.joined).exclude(run=run)
        shared.update(run=run, waits="", not_before_at=None, not_after_at=run.ends_at)
