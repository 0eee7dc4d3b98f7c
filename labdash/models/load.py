"""Load jobs: models that somebody loads, keeps or unloads by hand, and what came of it."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from labdash.models.node import Instance


class LoadWish(models.TextChoices):
    """What a job is to do with its model."""

    LOAD = "load", "load"
    KEEP = "keep", "keep"
    UNLOAD = "unload", "unload"


class LoadState(models.TextChoices):
    """``sent`` until a node worker has said that it works on it."""

    SENT = "sent", "sent"
    STARTING = "starting", "starting"
    LOADING = "loading", "loading"
    LOADED = "loaded", "loaded"
    UNLOADED = "unloaded", "unloaded"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


LOAD_ENDED = (LoadState.LOADED, LoadState.UNLOADED, LoadState.FAILED, LoadState.CANCELLED)


class LoadJobQuerySet(models.QuerySet["LoadJob"]):
    """Reads that more than one page needs."""

    def active(self) -> "LoadJobQuerySet":
        """Jobs that have not ended."""
        return self.exclude(state__in=LOAD_ENDED)


class LoadJob(models.Model):
    """One order about one model in the memory of one server; it is sent once.

    ``keep_s`` is -1 for ever. ``main_gpu`` is the GPU's number as its server counts. ``reason`` is
    what the server said, ``meaning`` what that means; ``log`` holds lines, ``log_note`` why there
    are none. What follows is what was seen after a load, in bytes and tokens; ``gpus`` are lists of
    number, name and bytes, ``None`` where nothing measures. ``by_plan``: a plan asked for it, and
    nobody by hand.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="load_jobs")
    model = models.CharField(max_length=350)
    wish = models.CharField(max_length=8, choices=LoadWish)
    context = models.PositiveIntegerField(null=True, blank=True)
    keep_s = models.IntegerField(default=300)
    main_gpu = models.PositiveSmallIntegerField(null=True, blank=True)
    state = models.CharField(max_length=12, choices=LoadState, default=LoadState.SENT)
    cancel_requested = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    by_plan = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=1000, blank=True)
    meaning = models.CharField(max_length=500, blank=True)
    log = models.TextField(blank=True)
    log_note = models.CharField(max_length=500, blank=True)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    size_vram_bytes = models.BigIntegerField(null=True, blank=True)
    context_length = models.PositiveIntegerField(null=True, blank=True)
    gpus = models.JSONField(null=True, blank=True)

    objects = LoadJobQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "instance",
                Lower("model"),
                condition=~models.Q(state__in=LOAD_ENDED),
                name="one_active_load_per_model",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.wish} {self.model} on {self.instance}"

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.state not in LOAD_ENDED
