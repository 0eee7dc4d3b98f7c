"""What lies in the stores of servers, and what is done there by hand: names, remains, moves."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from labdash.models.node import Instance
from labdash.models.pull import PullJob


class Manifest(models.Model):
    """The files of a name, by the digest under which its server lists it.

    ``layers`` are lists of digest, bytes and kind. Kept for each server: of others' files a node
    says nothing.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="manifests")
    digest = models.CharField(max_length=64)
    layers = models.JSONField(default=list)

    class Meta:
        ordering: ClassVar = ["instance", "digest"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["instance", "digest"], name="manifest_once_per_instance"
            )
        ]

    def __str__(self) -> str:
        return f"{self.digest[:12]} on {self.instance}"


class NameAct(models.TextChoices):
    """``quantize`` makes a smaller file; ``clear`` deletes unfinished downloads, without a name."""

    COPY = "copy", "copy"
    RENAME = "rename", "rename"
    DELETE = "delete", "delete"
    QUANTIZE = "quantize", "quantize"
    CLEAR = "clear", "delete unfinished downloads"


class NameState(models.TextChoices):
    """``sent`` until a node worker has said that it works on it."""

    SENT = "sent", "sent"
    WORKING = "working", "working"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


NAME_ENDED = (NameState.DONE, NameState.FAILED, NameState.CANCELLED)


class NameJobQuerySet(models.QuerySet["NameJob"]):
    """Reads that more than one page needs."""

    def active(self) -> "NameJobQuerySet":
        """Jobs that have not ended."""
        return self.exclude(state__in=NAME_ENDED)


class NameJob(models.Model):
    """One order about one name in the store of one server; it is sent once.

    Only while ``model`` stands for the manifest ``digest`` where that is set. ``replaces``:
    ``target`` may stand for something else. ``quant`` is that of the file to be made. ``why`` tells
    what asked for it where nobody did by hand. ``frees_bytes`` is what a deletion was to free, or a
    clearing did; ``None`` where that is unknown. ``reason`` is what the server said, ``meaning``
    what that means.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="name_jobs")
    act = models.CharField(max_length=8, choices=NameAct)
    model = models.CharField(max_length=350, blank=True)
    target = models.CharField(max_length=350, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    quant = models.CharField(max_length=30, blank=True)
    replaces = models.BooleanField(default=False)
    why = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=12, choices=NameState, default=NameState.SENT)
    cancel_requested = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    frees_bytes = models.BigIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=1000, blank=True)
    meaning = models.CharField(max_length=500, blank=True)

    objects = NameJobQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                # As Ollama compares names.
                "instance",
                Lower("model"),
                condition=~models.Q(state__in=NAME_ENDED),
                name="one_active_order_per_name",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.act} {self.model} on {self.instance}"

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.state not in NAME_ENDED


class MoveState(models.TextChoices):
    PULLING = "pulling", "on its way"
    CHECKING = "checking", "being compared"
    DELETING = "deleting", "being deleted where it was"
    DONE = "done", "moved"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


MOVE_ENDED = (MoveState.DONE, MoveState.FAILED, MoveState.CANCELLED)


class MoveQuerySet(models.QuerySet["Move"]):
    """Reads that more than one page needs."""

    def active(self) -> "MoveQuerySet":
        """Moves that have not ended."""
        return self.exclude(state__in=MOVE_ENDED)


class Move(models.Model):
    """A model that goes from one server to another: pulled there, compared, deleted here.

    ``digest`` is that of its manifest: only the same one there lets this one be deleted.
    ``step_at`` is when the present step began.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="moves")
    target = models.ForeignKey(Instance, models.CASCADE, related_name="arrivals")
    model = models.CharField(max_length=350)
    digest = models.CharField(max_length=64)
    state = models.CharField(max_length=12, choices=MoveState, default=MoveState.PULLING)
    pull_job = models.ForeignKey(
        PullJob, models.SET_NULL, null=True, blank=True, related_name="moves"
    )
    name_job = models.ForeignKey(
        NameJob, models.SET_NULL, null=True, blank=True, related_name="moves"
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    step_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    objects = MoveQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "instance",
                Lower("model"),
                condition=~models.Q(state__in=MOVE_ENDED),
                name="one_active_move_per_name",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.instance} to {self.target}"

    @property
    def is_active(self) -> bool:
        """Whether the move has not ended."""
        return self.state not in MOVE_ENDED
