"""One run of a schedule: begun, carried on by turns, closed with its window, or stopped."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q

from labdash import live
from labdash.domain import pulls, schedule_asking, schedule_cards
from labdash.models import Node, PullJob, PullSchedule, PullState, RunState, ScheduleRun
from labdash.models.pull import PullJobQuerySet
from labdash.queries import due
from labdash.queries.run_words import ended_words, left_words
from labdash.queries.turns import Candidate, turn_words, whose_turn

log = logging.getLogger(__name__)

# As ``reconcile`` reckons: who was not heard of for so long cannot be counted on.
SILENT_AFTER = timedelta(seconds=20)
KEPT = timedelta(days=180)
STOPPED, TAKEN = "Stopped by hand.", "The GPUs were taken again."
CANCELLED = "Cancelled with its schedule."


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
            schedule_asking.ask(run=run, window=window)
    log.info("schedule started schedule=%s run=%d due=%s", schedule, run.pk, due_at.isoformat())
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
        _cancel(PullJob.objects.filter(run=run), now)
        schedule_cards.take(run=run)
    run.refresh_from_db()


def end_all(*, schedule: PullSchedule, now: datetime) -> None:
    """Stop what runs of a schedule, and cancel what earlier runs left."""
    for run in schedule.runs.running():
        stop(run=run, now=now)
    _cancel(PullJob.objects.filter(run__schedule=schedule), now)


def move_left(*, schedule: PullSchedule, now: datetime) -> None:
    """Let what is left of runs that are over go on in the next window, if there is one."""
    window = None if schedule.paused else due.next_window(schedule, now)
    if window is not None:
        over = ScheduleRun.objects.filter(schedule=schedule).exclude(state=RunState.RUNNING)
        PullJob.objects.active().filter(run__in=over).update(
            not_before_at=window.opens_at, not_after_at=window.closes_at, waits=""
        )


def carry_on(*, runs: Collection[ScheduleRun], now: datetime) -> None:
    """Take what step is due of each run: its end, its window's end, or other machines' turn."""
    jobs = _jobs_of(runs)
    awake = _awake({job.instance.node for found in jobs.values() for job in found}, now)
    for run in runs:
        _carry_on(run, jobs[run.pk], awake, now)


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


def _jobs_of(runs: Collection[ScheduleRun]) -> Mapping[int, list[PullJob]]:
    """Return the jobs of each run, with those that it joined."""
    joined = defaultdict(list)
    for run in runs:
        for key in run.joined:
            joined[key].append(run.pk)
    keys = [run.pk for run in runs]
    rows = PullJob.objects.filter(Q(run__in=keys) | Q(pk__in=list(joined)))
    rows = rows.select_related("instance__node")
    found: dict[int, list[PullJob]] = {key: [] for key in keys}
    for job in rows.defer("instance__shelf", "instance__node__last_sample"):
        for key in {job.run_id, *joined[job.pk]}:
            if key in found:
                found[key].append(job)
    return found


def _carry_on(run: ScheduleRun, jobs: list[PullJob], awake: Collection[str], now: datetime) -> None:
    is_over = run.ends_at is not None and now >= run.ends_at
    left = [job for job in jobs if job.is_active]
    if run.schedule.gives_gpus:
        if is_over and _end(run, RunState.FINISHED, TAKEN, now):
            schedule_cards.take(run=run)
    elif not left:
        failed = any(job.state == PullState.FAILED for job in jobs)
        _end(run, RunState.FAILED if failed else RunState.FINISHED, ended_words(run, jobs), now)
    elif is_over:
        _close(run, len(left), len(jobs), now)
    elif run.schedule.at_once:
        _take_turns(run, left, awake, run.schedule.at_once)


def _close(run: ScheduleRun, left: int, of: int, now: datetime) -> None:
    """End a run with its window, and let the rest wait for the next one."""
    following = None if run.schedule.paused else due.next_window(run.schedule, now)
    text = left_words(left, of, following, run.schedule, now)
    with transaction.atomic():
        if _end(run, RunState.UNFINISHED, text, now):
            move_left(schedule=run.schedule, now=now)


def _end(run: ScheduleRun, state: RunState, text: str, now: datetime) -> bool:
    still = ScheduleRun.objects.running().filter(pk=run.pk)
    ended = bool(still.update(state=state, text=text[:500], finished_at=now))
    if ended:
        log.info("schedule ended schedule=%s run=%d state=%s", run.schedule, run.pk, state)
    return ended


def _take_turns(
    run: ScheduleRun, left: Iterable[PullJob], awake: Collection[str], at_once: int
) -> None:
    """Let some machines pull, and tell the others' jobs to wait."""
    own = [job for job in left if job.run_id == run.pk]
    busy = {job.instance.node.slug for job in own if job.sent_at is not None}
    candidates = [
        Candidate(node=slug, is_busy=slug in busy, is_awake=slug in awake)
        for slug in {job.instance.node.slug for job in own}
    ]
    turn = whose_turn(candidates, at_once)
    waits = {True: "", False: turn_words(run.schedule.name, at_once)}
    for is_in, text in waits.items():
        keys = [
            job.pk for job in own if (job.instance.node.slug in turn) == is_in and job.waits != text
        ]
        if keys:
            PullJob.objects.active().filter(pk__in=keys).update(waits=text)


def _awake(nodes: Collection[Node], now: datetime) -> set[str]:
    """Return the nodes that can be counted on; all of them where the store cannot tell."""
    ready = {node.slug: node.last_seen_at for node in nodes if not node.paused}
    try:
        states = live.read_states(ready)
    except live.StoreDown:
        return set(ready)
    seen = {slug: states[slug].arrived_at if slug in states else at for slug, at in ready.items()}
    return {slug for slug, at in seen.items() if at is not None and now - at <= SILENT_AFTER}


def _cancel(jobs: PullJobQuerySet, now: datetime) -> None:
    """Cancel what nobody else waits for: at once where no node has it, else by its flag."""
    _hand_on(jobs)
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
