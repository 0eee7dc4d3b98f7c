"""What a schedule does about newer versions of what is there: nothing, telling, or taking them."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from django.db.models import QuerySet

from labdash.domain import updates
from labdash.domain.errors import LabDashError
from labdash.models import ScheduleRun, Update, UpdateRule, UpdateState
from labdash.queries.radar import Copy
from labdash.queries.schedule_targets import Pair

# Of these no pull job tells yet.
UNDER_WAY = (UpdateState.WAITING, UpdateState.COPYING)


def ask(*, run: ScheduleRun, present: Collection[Pair], when: updates.When) -> list[str]:
    """Ask for what the schedule wants of newer versions; return sentences on it."""
    if not present or run.schedule.updates == UpdateRule.NEVER:
        return []
    instances = {instance.pk: instance for instance, _ in present}.values()
    models = {model for _, model in present}
    if run.schedule.updates == UpdateRule.ASK:
        found = updates.ask(instances=instances, models=models, when=when, run=run)
        return [f"Newer versions wait for your yes, under Updates: {len(found)}."] if found else []
    wanted = {(instance.pk, model.lower()) for instance, model in present}
    return list(_take(run, wanted, updates.outdated(instances, models), when))


def _take(
    run: ScheduleRun,
    wanted: Collection[tuple[int, str]],
    copies: Iterable[Copy],
    when: updates.When,
) -> Iterator[str]:
    for copy in copies:
        if (copy.instance.pk, copy.installed.name.lower()) not in wanted:
            continue
        try:
            updates.update(copy=copy, user=run.requested_by, when=when, run=run)
        except LabDashError as error:
            yield str(error)


def adopt(
    *,
    run: ScheduleRun,
    earlier: QuerySet[ScheduleRun],
    not_before_at: datetime | None,
    not_after_at: datetime | None,
) -> None:
    """Take over what earlier runs have not begun."""
    rows = Update.objects.filter(run__in=earlier, state__in=UNDER_WAY)
    rows.update(run=run, not_before_at=not_before_at, not_after_at=not_after_at)


def move(
    *, runs: QuerySet[ScheduleRun], not_before_at: datetime | None, not_after_at: datetime | None
) -> None:
    """Give updates that were not begun another window."""
    rows = Update.objects.filter(run__in=runs, state__in=UNDER_WAY)
    rows.update(not_before_at=not_before_at, not_after_at=not_after_at)


def cancel(*, runs: QuerySet[ScheduleRun]) -> None:
    """Give up the updates of runs that no pull job stands for yet."""
    for row in Update.objects.filter(run__in=runs, state__in=UNDER_WAY):
        updates.cancel(update=row)
