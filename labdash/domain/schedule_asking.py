"""Ask for all that one run of a schedule wants, in few statements: a lab may want thousands."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q

from labdash.models import PullJob, RunState, ScheduleRun
from labdash.queries.due import Window
from labdash.queries.schedule_targets import Pair, read_targets, takes_updates
from labdash.queries.turns import turn_words

MOST_NOTES = 20
HANDED_ON = "The next run goes on with what was left."

type Bounds = dict[str, datetime | None]


def ask(*, run: ScheduleRun, window: Window) -> None:
    """Queue what is wanted and not there, go on with what is left, join what others asked for."""
    targets = read_targets(run.schedule)
    again = targets.present if takes_updates(run.schedule) else ()
    pairs = (*targets.missing, *again)
    # By hand there is no window: neither a beginning.
    opens_at = None if run.by_hand else window.opens_at
    bounds: Bounds = {"not_before_at": opens_at, "not_after_at": window.closes_at}
    if pairs:
        PullJob.objects.bulk_create(_jobs(run, pairs, bounds), ignore_conflicts=True)
    _adopt(run, bounds)
    run.joined = _join(run, bounds, {(each.pk, model.lower()) for each, model in pairs})
    run.present = len(targets.present) - len(again)
    run.notes = [*run.notes, *targets.notes][:MOST_NOTES]
    run.save(update_fields=["present", "notes", "joined"])


def _jobs(run: ScheduleRun, pairs: Collection[Pair], bounds: Bounds) -> list[PullJob]:
    schedule = run.schedule
    waits = turn_words(schedule.name, schedule.at_once) if schedule.at_once else ""
    return [
        PullJob(
            instance=instance,
            model=model,
            run=run,
            requested_by_id=run.requested_by_id,
            priority=schedule.priority,
            waits=waits,
            **bounds,
        )
        for instance, model in pairs
    ]


def _adopt(run: ScheduleRun, bounds: Bounds) -> None:
    """Take over what earlier runs of the same schedule left."""
    earlier = ScheduleRun.objects.filter(schedule=run.schedule).exclude(pk=run.pk)
    PullJob.objects.active().filter(run__in=earlier).update(run=run, **bounds)
    earlier.running().update(state=RunState.UNFINISHED, finished_at=run.started_at, text=HANDED_ON)


def _join(run: ScheduleRun, bounds: Bounds, wanted: Collection[tuple[int, str]]) -> list[int]:
    """Return the jobs of others that bring what is wanted; none of them waits longer for it."""
    rows = PullJob.objects.active().filter(instance__in={key for key, _ in wanted})
    others = rows.exclude(run=run).values_list("pk", "instance_id", "model")
    joined = [key for key, instance, model in others if (instance, model.lower()) in wanted]
    late = Q(not_before_at__gt=run.started_at) | Q(not_after_at__lte=run.started_at)
    PullJob.objects.active().filter(late, pk__in=joined).update(**bounds)
    return joined
