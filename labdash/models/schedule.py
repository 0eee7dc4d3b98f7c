"""Schedules: what is done at night by itself, and what came of it each time."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

SCHEDULE_NAME = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,59}\Z",
    "Use letters, digits, spaces, dots and hyphens, at most 60.",
)
LEAST_PRIORITY, MOST_PRIORITY, USUAL_PRIORITY = 1, 9, 5
MOST_AT_ONCE = 100
LONGEST_CRON = 100


class ScheduleWhat(models.TextChoices):
    """What a schedule is about."""

    MODELS = "models", "these models"
    INSTALLED = "installed", "everything that is installed"
    PLAN = "plan", "what the plan needs"
    GPUS = "gpus", "give GPUs back to their owner (gaming mode)"


class UpdateRule(models.TextChoices):
    """What a schedule does about newer files of what is there already."""

    NEVER = "never", "leave what is there"
    ASK = "ask", "tell me what is outdated"
    TAKE = "take", "pull what is newer"


class PullSchedule(models.Model):
    """When what is pulled to which machines, or when GPUs go back to their owner.

    ``nodes`` are names of nodes and tags; an empty list means all. ``cron`` has five fields and is
    read in ``zone``; ``until`` is the end of the window there, ``None`` for no end. ``at_once`` is
    how many nodes pull at the same time, ``None`` for all. ``catch_up``: a time that passed while
    the hub was off is made good once it is back. ``decided_to`` is up to when it was decided what
    was due.
    """

    name = models.CharField(max_length=60, unique=True, validators=[SCHEDULE_NAME])
    what = models.CharField(max_length=10, choices=ScheduleWhat, default=ScheduleWhat.MODELS)
    model_names = models.JSONField("models", default=list, blank=True)
    nodes = models.JSONField("where", default=list, blank=True)
    cron = models.CharField("when", max_length=LONGEST_CRON, default="0 2 * * *")
    until = models.TimeField("until", null=True, blank=True)
    zone = models.CharField("time zone", max_length=60)
    at_once = models.PositiveSmallIntegerField(
        "machines at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_AT_ONCE)],
    )
    updates = models.CharField(max_length=5, choices=UpdateRule, default=UpdateRule.NEVER)
    catch_up = models.BooleanField("make good what the hub slept through", default=False)
    priority = models.PositiveSmallIntegerField(
        default=USUAL_PRIORITY,
        validators=[MinValueValidator(LEAST_PRIORITY), MaxValueValidator(MOST_PRIORITY)],
        help_text="1 is pulled first.",
    )
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    decided_to = models.DateTimeField(editable=False)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def gives_gpus(self) -> bool:
        """Whether it gives GPUs back and pulls nothing."""
        return self.what == ScheduleWhat.GPUS


class RunState(models.TextChoices):
    """``unfinished``: its window closed before all was there; the next run goes on with it."""

    RUNNING = "running", "running"
    FINISHED = "finished", "finished"
    FAILED = "failed", "failed in part"
    UNFINISHED = "unfinished", "not finished"
    MISSED = "missed", "missed"
    STOPPED = "stopped", "stopped"


class ScheduleRunQuerySet(models.QuerySet["ScheduleRun"]):
    """Reads that more than one page needs."""

    def running(self) -> "ScheduleRunQuerySet":
        """Return those that go on."""
        return self.filter(state=RunState.RUNNING)


class ScheduleRun(models.Model):
    """One time that a schedule was due, or run by hand.

    ``due_at`` is for when it was. ``ends_at`` is when its window closes, ``None`` for never. Its
    jobs point at it; ``joined`` are the keys of jobs of others that bring what it wants too, and
    ``present`` counts what was there already. ``notes`` are sentences on what could not be asked
    for. ``gpus`` are the keys of the GPUs that it gave back and takes again.
    """

    schedule = models.ForeignKey(PullSchedule, models.CASCADE, related_name="runs")
    due_at = models.DateTimeField()
    started_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=RunState, default=RunState.RUNNING)
    by_hand = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    present = models.PositiveIntegerField("were there already", default=0)
    joined = models.JSONField(default=list, blank=True)
    gpus = models.JSONField(default=list, blank=True)
    notes = models.JSONField(default=list, blank=True)
    text = models.CharField(max_length=500, blank=True)

    objects = ScheduleRunQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-started_at", "-pk"]
        constraints: ClassVar = [
            # Two deciders at once, or a clock that was put back, start nothing twice.
            models.UniqueConstraint(fields=["schedule", "due_at"], name="one_run_per_due_time"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule} of {self.due_at:%Y-%m-%d %H:%M}"
