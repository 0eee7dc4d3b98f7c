"""What is published upstream of the names that are installed, and updates of them."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from labdash.models.node import Instance
from labdash.models.pull import PullJob
from labdash.models.schedule import USUAL_PRIORITY, ScheduleRun
from labdash.models.shelf import NameJob


class UpstreamHost(models.Model):
    """A registry, and since when it gives no answer: it is then asked less and less often."""

    host = models.CharField(max_length=100, unique=True)
    failures = models.PositiveSmallIntegerField(default=0)
    not_before_at = models.DateTimeField(null=True, blank=True)
    down_since = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering: ClassVar = ["host"]

    def __str__(self) -> str:
        return self.host


class UpstreamManifest(models.Model):
    """The files of a version that is or was published: lists of digest, bytes and kind.

    ``requires`` is the oldest Ollama that can run it, empty where it does not say.
    """

    digest = models.CharField(max_length=64, unique=True)
    layers = models.JSONField(default=list)
    requires = models.CharField(max_length=30, blank=True)
    first_seen_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-first_seen_at"]

    def __str__(self) -> str:
        return self.digest[:12]


class UpstreamState(models.TextChoices):
    """``missing`` was not found once; ``gone`` was not found on two days in a row.

    A registry that gives no answer changes nothing of it.
    """

    NEW = "new", "not asked yet"
    THERE = "there", "published"
    MISSING = "missing", "not found once"
    GONE = "gone", "not published any more"
    CLOSED = "closed", "for signed-in users only"


class UpstreamTag(models.Model):
    """A name as it is published, by the last good answer.

    ``checked_at`` is when that came, ``next_at`` when it is asked for again; ``was_there``:
    it was published once. ``behind`` counts the servers that have an older version.
    """

    name = models.CharField(max_length=350, unique=True)
    host = models.CharField(max_length=100)
    state = models.CharField(max_length=8, choices=UpstreamState, default=UpstreamState.NEW)
    manifest = models.ForeignKey(
        UpstreamManifest, models.SET_NULL, null=True, blank=True, related_name="tags"
    )
    was_there = models.BooleanField(default=False)
    changed_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    next_at = models.DateTimeField()
    error = models.CharField(max_length=300, blank=True)
    behind = models.PositiveIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class UpdateState(models.TextChoices):
    """``trying``: the new version is in place, and the one before is kept until it has loaded."""

    ASKED = "asked", "waits for your yes"
    WAITING = "waiting", "waiting"
    COPYING = "copying", "keeping the version before"
    PULLING = "pulling", "being pulled"
    TRYING = "trying", "in place, not loaded yet"
    DONE = "done", "updated"
    RETURNING = "returning", "going back"
    RETURNED = "returned", "taken back"
    DECLINED = "declined", "not wanted"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


UPDATE_ENDED = (
    UpdateState.DONE,
    UpdateState.RETURNED,
    UpdateState.DECLINED,
    UpdateState.FAILED,
    UpdateState.CANCELLED,
)
# Such a version is not offered again.
HELD_BACK = (UpdateState.RETURNED, UpdateState.DECLINED)


class UpdateQuerySet(models.QuerySet["Update"]):
    """Reads that more than one page needs."""

    def active(self) -> "UpdateQuerySet":
        """Updates that have not ended."""
        return self.exclude(state__in=UPDATE_ENDED)


class Update(models.Model):
    """One name on one server that goes from one version to a newer one, and perhaps back.

    ``from_digest`` and ``to_digest`` are of manifests. ``kept_name`` is under which the version
    before is kept, empty once it is not. ``renews``: the names that a plan made of it are still to
    be made anew.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="updates")
    model = models.CharField(max_length=350)
    from_digest = models.CharField(max_length=64)
    to_digest = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=UpdateState, default=UpdateState.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    kept_name = models.CharField(max_length=350, blank=True)
    renews = models.BooleanField(default=False, editable=False)
    name_job = models.ForeignKey(
        NameJob, models.SET_NULL, null=True, blank=True, related_name="updates"
    )
    pull_job = models.ForeignKey(
        PullJob, models.SET_NULL, null=True, blank=True, related_name="updates"
    )
    run = models.ForeignKey(
        ScheduleRun, models.SET_NULL, null=True, blank=True, related_name="updates"
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    priority = models.PositiveSmallIntegerField(default=USUAL_PRIORITY)
    not_before_at = models.DateTimeField(null=True, blank=True)
    not_after_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    step_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = UpdateQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "instance",
                Lower("model"),
                condition=~models.Q(state__in=UPDATE_ENDED),
                name="one_active_update_per_name",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.instance}"

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in UPDATE_ENDED
