"""Pulls that come from within the lab."""

from typing import ClassVar

from django.db import models

from labdash.models.node import Instance
from labdash.models.pull import PullJob


class TransferQuerySet(models.QuerySet["Transfer"]):
    """Reads that more than one place needs."""

    def active(self) -> "TransferQuerySet":
        """Those that have not ended."""
        return self.filter(ended_at=None)


class Transfer(models.Model):
    """One try to get a model for a job from ``giver``, or from the hub's cache where it is empty.

    Its node gives ``digest`` to who knows ``secret``, at ``port`` by one of ``hosts``, from when it
    has said so (``opened_at``). ``failed``: this giver is not asked again for this job.
    """

    job = models.ForeignKey(PullJob, models.CASCADE, related_name="transfers")
    giver = models.ForeignKey(
        Instance, models.CASCADE, null=True, blank=True, related_name="transfers"
    )
    model = models.CharField(max_length=350, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    secret = models.CharField(max_length=32, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    hosts = models.JSONField(default=list, blank=True)
    asked_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True, blank=True)
    renewed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    failed = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True)

    objects = TransferQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-asked_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(ended_at=None), name="one_transfer_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.job} from {self.giver or 'the cache'}"
