"""Ask for all that one run of a schedule wants, in few statements: a lab may want thousands."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from labdash.domain import schedule_turns, schedule_updates
from labdash.domain.updates import When
from labdash.models import PullJob, RunState, ScheduleRun
from labdash.queries.due import Window
from labdash.queries.schedule_targets import Pair, read_targets
from labdash.queries.schedule_words import listed

MOST_NOTES = 20
HANDED_ON = "The next run goes on with what was left."

# Of what others asked for; more is counted.
MOST_NAMED = 3

type Bounds = dict[str, datetime | None]


class Joined(NamedTuple):
    """A job that somebody else asked for."""

    key: int
    model: str
    node: str
    schedule: str | None

    @property
    def by(self) -> str:
        """Who asked for it."""
        return f"by {self.schedule}" if self.schedule else "by hand or for the plan"


def ask(*, run: ScheduleRun, window: Window, now: datetime) -> None:
    """Queue what is wanted and not there, go on with what is left, join what others asked for."""
    targets = read_targets(run.schedule)
    # By hand there is no window: neither a beginning.
    opens_at = None if run.by_hand else window.opens_at
    bounds: Bounds = {"not_before_at": opens_at, "not_after_at": window.closes_at}
    if targets.missing:
        jobs = _jobs(run, targets.missing, bounds, now)
        PullJob.objects.bulk_create(jobs, ignore_conflicts=True)
    _adopt(run, bounds)
    joined = _join(run, bounds, {(each.pk, model.lower()) for each, model in targets.missing})
    when = When(priority=run.schedule.priority, **bounds)
    newer = schedule_updates.ask(run=run, present=targets.present, when=when)
    run.joined = [each.key for each in joined]
    run.present = len(targets.present)
    notes = [*run.notes, *targets.notes, *newer, *_joined_words(joined)]
    run.notes = notes[:MOST_NOTES]
    run.save(update_fields=["present", "notes", "joined"])


def _jobs(
    run: ScheduleRun, pairs: Collection[Pair], bounds: Bounds, now: datetime
) -> list[PullJob]:
    nodes = {instance.node.slug for instance, _ in pairs}
    turn = schedule_turns.first_turn(run=run, nodes=nodes, now=now)
    waits = schedule_turns.waits_of(run=run)
    return [
        PullJob(
            instance=instance,
            model=model,
            run=run,
            requested_by_id=run.requested_by_id,
            priority=run.schedule.priority,
            waits="" if instance.node.slug in turn else waits,
            **bounds,
        )
        for instance, model in pairs
    ]


def _adopt(run: ScheduleRun, bounds: Bounds) -> None:
    """Take over what earlier runs of the same schedule left."""
    earlier = ScheduleRun.objects.filter(schedule=run.schedule).exclude(pk=run.pk)
    PullJob.objects.active().filter(run__in=earlier).update(run=run, **bounds)
    schedule_updates.adopt(run=run, earlier=earlier, **bounds)
    earlier.running().update(state=RunState.UNFINISHED, finished_at=run.started_at, text=HANDED_ON)


def _join(run: ScheduleRun, bounds: Bounds, wanted: Collection[tuple[int, str]]) -> list[Joined]:
    """Return the jobs of others that bring what is wanted; none of them waits longer for it."""
    rows = PullJob.objects.active().filter(instance__in={key for key, _ in wanted})
    others = (
        rows.exclude(run=run)
        .order_by("pk")
        .values_list("instance_id", "pk", "model", "instance__node__slug", "run__schedule__name")
    )
    joined = [
        Joined(key, model, node, schedule)
        for instance, key, model, node, schedule in others
        if (instance, model.lower()) in wanted
    ]
    late = Q(not_before_at__gt=run.started_at) | Q(not_after_at__lte=run.started_at)
    keys = [each.key for each in joined]
    PullJob.objects.active().filter(late, pk__in=keys).update(**bounds)
    return joined


def _joined_words(joined: Collection[Joined]) -> Iterator[str]:
    """Say what somebody else has asked for."""
    if len(joined) <= MOST_NAMED:
        for each in joined:
            what = f"{each.model} on {each.node}"
            yield f"{what} was asked for already, {each.by}: it is pulled once."
    else:
        by = dict.fromkeys(each.by for each in joined)
        yield f"{len(joined)} pulls were asked for already, {listed([*by])}: each is made once."
