"""Schedules as their pages show them: what each does, how its run stands, when it is next."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Count, OuterRef, Q, Subquery

from labdash.models import ENDED, PullJob, PullSchedule, PullState, RunState, ScheduleRun
from labdash.models.pull import PullJobQuerySet
from labdash.queries import due
from labdash.queries.nights import Night, Timed, nights
from labdash.queries.schedule_words import clock_words, sentence

MOST_RUNS = 30
MOST_JOBS = 100
LEVELS: Mapping[str, str] = {
    RunState.FINISHED: "good",
    RunState.FAILED: "bad",
    RunState.UNFINISHED: "attention",
    RunState.MISSED: "attention",
}


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run and how it stands. ``done`` of ``of`` jobs have ended; ``took`` is None until then."""

    run: ScheduleRun
    level: str
    words: str
    begun: str
    done: int = 0
    of: int = 0
    fraction: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return bool(self.run.state == RunState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class ScheduleView:
    """A schedule: ``following`` says when it is due next, ``run`` is its newest run."""

    schedule: PullSchedule
    sentence: str
    following: str
    run: RunView | None


@dataclass(frozen=True, kw_only=True)
class SchedulesView:
    """All schedules and the nights to come, in the lab's own zone."""

    schedules: tuple[ScheduleView, ...]
    nights: tuple[Night, ...]
    zone: str


@dataclass(frozen=True, kw_only=True)
class ScheduleDetail:
    """One schedule with its runs, and what its newest run still has to do or could not do."""

    view: ScheduleView
    runs: tuple[RunView, ...]
    jobs: tuple[PullJob, ...]
    more: int


def read_schedules(*, now: datetime, home_zone: str) -> SchedulesView:
    """Return all schedules with their newest runs."""
    rows = list(PullSchedule.objects.all())
    runs = _newest()
    counts = _counts(runs.values())
    views = [_view(row, runs.get(row.pk), counts, now=now, home_zone=home_zone) for row in rows]
    timed = [
        Timed(key=row.pk, name=row.name, when=row, is_gaming=row.gives_gpus)
        for row in rows
        if not row.paused
    ]
    zone = due.zone_of(home_zone)
    return SchedulesView(
        schedules=tuple(views), nights=nights(timed, now=now, zone=zone), zone=home_zone
    )


def read_schedule(schedule: PullSchedule, *, now: datetime, home_zone: str) -> ScheduleDetail:
    """Return one schedule with its history."""
    rows = list(schedule.runs.all()[:MOST_RUNS])
    newest = rows[0] if rows else None
    counts = _counts(rows)
    jobs = _unsettled(newest) if newest else PullJob.objects.none()
    shown = tuple(jobs[:MOST_JOBS])
    return ScheduleDetail(
        view=_view(schedule, newest, counts, now=now, home_zone=home_zone),
        runs=tuple(_view_run(run, schedule, counts, now) for run in rows),
        jobs=shown,
        more=jobs.count() - len(shown) if len(shown) == MOST_JOBS else 0,
    )


def _newest() -> dict[int, ScheduleRun]:
    """Return the newest run of each schedule."""
    runs = ScheduleRun.objects.filter(schedule=OuterRef("pk"))
    newest = PullSchedule.objects.annotate(newest=Subquery(runs.values("pk")[:1])).values("newest")
    return {run.schedule_id: run for run in ScheduleRun.objects.filter(pk__in=newest)}


def _of(runs: Collection[ScheduleRun]) -> Q:
    joined = [key for run in runs for key in run.joined]
    return Q(run__in=[run.pk for run in runs]) | Q(pk__in=joined)


def _counts(runs: Iterable[ScheduleRun]) -> dict[int, tuple[int, int]]:
    """Return how many jobs of each run that goes on have ended, and how many there are."""
    going = [run for run in runs if run.state == RunState.RUNNING]
    if not going:
        return {}
    rows = PullJob.objects.filter(run__in=going).values("run").order_by()
    ended = rows.annotate(of=Count("pk"), done=Count("pk", filter=Q(state__in=ENDED)))
    found = {row["run"]: (row["done"], row["of"]) for row in ended}
    return {run.pk: _with_joined(run, found.get(run.pk, (0, 0))) for run in going}


def _with_joined(run: ScheduleRun, own: tuple[int, int]) -> tuple[int, int]:
    if not run.joined:
        return own
    done = PullJob.objects.filter(pk__in=run.joined, state__in=ENDED).count()
    return own[0] + done, own[1] + len(run.joined)


def _unsettled(run: ScheduleRun) -> PullJobQuerySet:
    rows = PullJob.objects.filter(_of([run])).exclude(
        state__in=(PullState.INSTALLED, PullState.CANCELLED)
    )
    rows = rows.select_related("instance__node", "run__schedule")
    return rows.order_by("instance__node__slug", "priority", "rank", "created_at", "pk")


def _view(
    schedule: PullSchedule,
    run: ScheduleRun | None,
    counts: Mapping[int, tuple[int, int]],
    *,
    now: datetime,
    home_zone: str,
) -> ScheduleView:
    return ScheduleView(
        schedule=schedule,
        sentence=sentence(schedule, home_zone=home_zone),
        following=_following(schedule, now),
        run=_view_run(run, schedule, counts, now) if run else None,
    )


def _following(schedule: PullSchedule, now: datetime) -> str:
    if schedule.paused:
        return "paused"
    try:
        window = due.next_window(schedule, now)
        zone = due.zone_of(schedule.zone)
    except ValueError as error:
        return f"never due: {error}"
    if window is None:
        return "never due again"
    return f"next: {clock_words(window.opens_at.astimezone(zone), now)}"


def _view_run(
    run: ScheduleRun, schedule: PullSchedule, counts: Mapping[int, tuple[int, int]], now: datetime
) -> RunView:
    done, of = counts.get(run.pk, (0, 0))
    zone = _zone(schedule)
    return RunView(
        run=run,
        level=LEVELS.get(run.state, "quiet"),
        words=_words(run, schedule, done, of, zone),
        begun=past_words(run.started_at.astimezone(zone), now),
        done=done,
        of=of,
        fraction=done / of if of else None,
    )


def _words(
    run: ScheduleRun, schedule: PullSchedule, done: int, of: int, zone: ZoneInfo | None
) -> str:
    if run.state != RunState.RUNNING:
        return run.text or run.get_state_display()
    end = f", until {run.ends_at.astimezone(zone):%H:%M}" if run.ends_at else ""
    if schedule.gives_gpus:
        cards = len(run.gpus)
        return f"{cards} GPU{'' if cards == 1 else 's'} given back{end}"
    present = f", {run.present} there already" if run.present else ""
    return f"{done} of {of} done{present}{end}"


def _zone(schedule: PullSchedule) -> ZoneInfo | None:
    try:
        return due.zone_of(schedule.zone)
    except due.WhenError:
        return None


def past_words(moment: datetime, now: datetime) -> str:
    """Write a moment of the last days by its clock, in the zone of ``moment``."""
    days = (now.astimezone(moment.tzinfo).date() - moment.date()) // timedelta(days=1)
    if days == 0:
        return f"today {moment:%H:%M}"
    if days == 1:
        return f"yesterday {moment:%H:%M}"
    return f"{moment:%a} {moment.day} {moment:%b} {moment:%H:%M}"
