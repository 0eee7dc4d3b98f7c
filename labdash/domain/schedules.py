"""What a person does with schedules: each is checked whole before it is stored."""

from collections.abc import Iterable
from datetime import datetime, time
from typing import TypedDict, Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from labdash.domain import schedule_runs
from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.models import Node, PullSchedule, PullSettings, ScheduleRun, ScheduleWhat, UpdateRule
from labdash.queries import due
from labdash.queries.schedule_targets import gone_places

MOST_MODELS = 500


class Fields(TypedDict, total=False):
    """What may be said of a schedule; what is left out stays, or is as usual."""

    name: str
    what: str
    model_names: list[str]
    nodes: list[str]
    cron: str
    until: time | None
    zone: str
    at_once: int | None
    updates: str
    catch_up: bool
    priority: int
    paused: bool


def create(**fields: Unpack[Fields]) -> PullSchedule:
    """Store a schedule; it is due from now on.

    Raises ``LabDashError`` with one line that says what is wrong.
    """
    return _store(PullSchedule(**fields, decided_to=timezone.now()))


def change(*, schedule: PullSchedule, **fields: Unpack[Fields]) -> PullSchedule:
    """Store other wishes: what was due before by the old ones is not by the new ones.

    What runs ends with its window as it is now. It is stopped where GPUs take the place of pulls,
    or pulls that of GPUs.
    """
    now = timezone.now()
    before, changed = (PullSchedule.objects.get(pk=schedule.pk) for _ in range(2))
    for name, value in fields.items():
        setattr(changed, name, value)
    changed.decided_to = now
    with transaction.atomic():
        _store(changed)
        if before.gives_gpus != changed.gives_gpus:
            schedule_runs.end_all(schedule=changed, now=now)
        elif (before.until, before.zone) != (changed.until, changed.zone):
            schedule_runs.move_end(schedule=changed, now=now)
        schedule_runs.move_left(schedule=changed, now=now)
    schedule.refresh_from_db()
    return changed


def delete(*, schedule: PullSchedule) -> None:
    """Forget a schedule; what it asked for and has not arrived is cancelled."""
    # Lest it begins anew in this moment: nobody would take its GPUs again.
    PullSchedule.objects.filter(pk=schedule.pk).update(paused=True)
    schedule_runs.end_all(schedule=schedule, now=timezone.now())
    schedule.delete()


def pause(*, schedule: PullSchedule) -> None:
    """Begin nothing more. A run that is under way goes on until its window closes."""
    PullSchedule.objects.filter(pk=schedule.pk).update(paused=True)
    schedule.refresh_from_db()


def resume(*, schedule: PullSchedule) -> None:
    """Let it be due again, from now on."""
    now = timezone.now()
    was = PullSchedule.objects.filter(pk=schedule.pk, paused=True)
    with transaction.atomic():
        if was.update(paused=False, decided_to=now):
            schedule.refresh_from_db()
            schedule_runs.move_left(schedule=schedule, now=now)
    schedule.refresh_from_db()


def run_now(*, schedule: PullSchedule, user: User | None) -> ScheduleRun:
    """Do at once what it does at night; pulls are then bound to no window.

    Raises ``LabDashError`` where it runs already.
    """
    now = timezone.now()
    window = due.Window(opens_at=now, closes_at=_closes(schedule, now))
    with transaction.atomic():
        # Of two who press at once the second waits here, and then sees the run of the first.
        PullSchedule.objects.select_for_update().get(pk=schedule.pk)
        if schedule.runs.running().exists():
            raise LabDashError(f"{schedule} runs already: stop that run first.")
        run = schedule_runs.start(
            schedule=schedule, due_at=now, window=window, now=now, user=user, by_hand=True
        )
    if run is None:
        raise LabDashError(f"{schedule} was started by somebody else in this moment.")
    return run


def home_zone() -> str:
    """Return the time zone of what says none of its own."""
    return PullSettings.read().zone or settings.TIME_ZONE


def named(models: Iterable[str]) -> list[str]:
    """Return models by the names that Ollama lists them by. Raises ``LabDashError``."""
    return list(dict.fromkeys(map(parse_model_name, models)))


def check(schedule: PullSchedule) -> None:
    """Refuse what can never be done. Raises ``LabDashError`` with one line."""
    _check_fields(schedule)
    try:
        due.check(schedule)
    except due.WhenError as error:
        raise LabDashError(str(error)) from error
    _check_what(schedule)
    for place in gone_places(schedule.nodes, Node.objects.defer("last_sample")):
        raise LabDashError(f"No node and no tag is named {place}.")


def _closes(schedule: PullSchedule, now: datetime) -> datetime | None:
    """Cards that are given back by hand are taken again when they always are."""
    return due.closing(schedule, now) if schedule.gives_gpus else None


def _store(schedule: PullSchedule) -> PullSchedule:
    schedule.name = schedule.name.strip()
    schedule.zone = schedule.zone or home_zone()
    schedule.cron = " ".join(schedule.cron.split())
    if schedule.what == ScheduleWhat.MODELS:
        schedule.model_names = named(schedule.model_names)
    else:
        schedule.model_names = []
    check(schedule)
    try:
        with transaction.atomic():
            schedule.save()
    except IntegrityError as error:
        raise LabDashError(f"There is a schedule named {schedule.name} already.") from error
    return schedule


def _check_fields(schedule: PullSchedule) -> None:
    """Ask the model's own validators; the first objection is the line."""
    if not schedule.name:
        raise LabDashError("Write a name, such as nightly.")
    try:
        schedule.full_clean(exclude=["id"], validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        label = getattr(PullSchedule._meta.get_field(field), "verbose_name", field)  # noqa: SLF001 - documented API
        raise LabDashError(f"{label.capitalize()}: {texts[0]}") from error


def _check_what(schedule: PullSchedule) -> None:
    if schedule.what == ScheduleWhat.MODELS and not schedule.model_names:
        raise LabDashError("Write at least one model name, such as qwen3:14b.")
    if len(schedule.model_names) > MOST_MODELS:
        raise LabDashError(f"That is more than {MOST_MODELS} models: make two schedules of it.")
    if schedule.gives_gpus and schedule.until is None:
        raise LabDashError("Say until when the GPUs are their owner's.")
    if schedule.what == ScheduleWhat.INSTALLED and schedule.updates == UpdateRule.NEVER:
        raise LabDashError(
            "What is installed is there already: choose whether newer versions are told or pulled."
        )
