"""Pull jobs: the truth about long work, whatever became of the messages about it."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from labdash.models.node import Instance


class PullState(models.TextChoices):
    """``queued`` until a node worker has said that it works on it."""

    QUEUED = "queued", "queued"
    STARTING = "starting", "starting"
    DOWNLOADING = "downloading", "downloading"
    VERIFYING = "verifying", "verifying"
    FINISHING = "finishing", "finishing"
    INSTALLED = "installed", "installed"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


ENDED = (PullState.INSTALLED, PullState.FAILED, PullState.CANCELLED)
RUNNING = (
    PullState.STARTING,
    PullState.DOWNLOADING,
    PullState.VERIFYING,
    PullState.FINISHING,
)


class PullJobQuerySet(models.QuerySet["PullJob"]):
    """Reads that more than one page needs."""

    def active(self) -> "PullJobQuerySet":
        """Jobs that have not ended."""
        return self.exclude(state__in=ENDED)


class PullJob(models.Model):
    """One model to be pulled to one instance.

    ``sent_at`` is when the order last went to the node; ``heartbeat_at`` when the node last
    reported on it. ``attempt`` counts the orders sent, ``fruitless`` those of them since bytes
    last arrived.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="pull_jobs")
    model = models.CharField(max_length=350)
    state = models.CharField(max_length=12, choices=PullState, default=PullState.QUEUED)
    reason = models.CharField(max_length=500, blank=True)
    retry_may_help = models.BooleanField(default=False, editable=False)
    cancel_requested = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    fruitless = models.PositiveSmallIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    done_bytes = models.BigIntegerField(null=True, blank=True)
    total_bytes = models.BigIntegerField(null=True, blank=True)
    bytes_per_s = models.FloatField(null=True, blank=True)
    remaining_s = models.FloatField(null=True, blank=True)

    objects = PullJobQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                # As Ollama compares names.
                "instance",
                Lower("model"),
                condition=~models.Q(state__in=ENDED),
                name="one_active_pull_per_model",
            ),
            models.UniqueConstraint(
                # Two pulls at once can kill a real Ollama server.
                fields=["instance"],
                condition=models.Q(sent_at__isnull=False) & ~models.Q(state__in=ENDED),
                name="one_pull_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} to {self.instance}"

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.state not in ENDED
