"""Pull jobs: the truth about long work, whatever became of the messages about it.

And what holds for all of them: how fast, from where, and how much of a disk.
"""

from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from labdash.models.node import Instance, Node
from labdash.models.schedule import ScheduleRun


class PullState(models.TextChoices):
    """``queued`` until a node worker has said that it works on it.

    ``paused`` holds its place and what has arrived; it goes on by hand or when its window opens.
    """

    QUEUED = "queued", "queued"
    STARTING = "starting", "starting"
    DOWNLOADING = "downloading", "downloading"
    VERIFYING = "verifying", "verifying"
    FINISHING = "finishing", "finishing"
    PAUSED = "paused", "paused"
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

# All has come: Ollama ends by itself, whatever is asked of it.
ARRIVED = (PullState.VERIFYING, PullState.FINISHING)


class PullSource(models.TextChoices):
    """Where the bytes come from; each is nearer than the next."""

    NEIGHBOUR = "neighbour", "another machine"
    CACHE = "cache", "the hub's cache"
    INTERNET = "internet", "the internet"


class PullJobQuerySet(models.QuerySet["PullJob"]):
    """Reads that more than one page needs."""

    def active(self) -> "PullJobQuerySet":
        """Jobs that have not ended."""
        return self.exclude(state__in=ENDED)

    def waiting(self) -> "PullJobQuerySet":
        """Jobs that no node has."""
        return self.active().filter(sent_at=None)

    def in_order(self) -> "PullJobQuerySet":
        """As their instances take them."""
        return self.order_by("priority", "rank", "created_at", "pk")


class PullJob(models.Model):
    """One model to be pulled to one instance.

    ``sent_at`` is when the order last went to the node; ``heartbeat_at`` when the node last
    reported on it. ``attempt`` counts the orders sent, ``fruitless`` those of them since bytes
    last arrived.

    The queue of an instance goes by ``priority`` (1 is first), then ``rank``, then age. Between
    ``not_before_at`` and ``not_after_at`` it may run: outside of its window it is paused.
    ``held``: somebody paused it by hand. ``pause_requested``: the node was told to stop, and what
    it says next is no cancelling. ``lost_bytes`` counts what had arrived and Ollama deleted.
    ``retry_at`` is when a failed try is made again by itself; ``retries`` counts these.
    ``cause`` is the kind of its last failure, as ``workers.wire.PullCause`` has it.

    ``arrived_bytes`` came since its node's worker began. While that is a new beginning whose
    layers are not all known, ``kept_bytes`` of ``kept_total_bytes`` is what was there before.
    A turn under a speed limit began at ``turn_at`` with ``turn_bytes`` arrived; its rest ends at
    ``rest_until_at``.

    ``run`` is the time of a schedule that asked for it; ``waits`` is why that schedule lets it
    wait, empty where it may begin.
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
    priority = models.PositiveSmallIntegerField(default=5)
    rank = models.BigIntegerField(default=0, editable=False)
    held = models.BooleanField(default=False)
    pause_requested = models.BooleanField(default=False, editable=False)
    not_before_at = models.DateTimeField(null=True, blank=True)
    not_after_at = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    retries = models.PositiveSmallIntegerField(default=0, editable=False)
    cause = models.CharField(max_length=20, blank=True, editable=False)
    lost_bytes = models.BigIntegerField(default=0, editable=False)
    arrived_bytes = models.BigIntegerField(null=True, blank=True, editable=False)
    kept_bytes = models.BigIntegerField(null=True, blank=True, editable=False)
    kept_total_bytes = models.BigIntegerField(null=True, blank=True, editable=False)
    turn_at = models.DateTimeField(null=True, blank=True, editable=False)
    turn_bytes = models.BigIntegerField(default=0, editable=False)
    rest_until_at = models.DateTimeField(null=True, blank=True, editable=False)
    run = models.ForeignKey(
        ScheduleRun, models.SET_NULL, null=True, blank=True, related_name="jobs", editable=False
    )
    waits = models.CharField(max_length=200, blank=True, editable=False)
    source = models.CharField(
        max_length=10, choices=PullSource, default=PullSource.INTERNET, editable=False
    )
    source_node = models.ForeignKey(
        Node, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    source_reason = models.CharField(max_length=300, blank=True, editable=False)

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

    @property
    def is_running(self) -> bool:
        """Whether a node has it."""
        return self.is_active and (self.sent_at is not None or self.state in RUNNING)


class UnusedRule(models.TextChoices):
    """What becomes of files that no plan needs and nobody used for long."""

    NEVER = "never", "keep them"
    PROPOSE = "propose", "propose to delete them"
    DELETE = "delete", "delete them"


class PullSettings(models.Model):
    """What holds for all pulls: one row, read by ``PullSettings.read()``.

    ``speed_windows`` is a list of ``{"days": [0…6], "from": "HH:MM", "to": "HH:MM",
    "bytes_per_s": n or null}`` that overrule ``bytes_per_s`` while they are open; 0 is a pause.
    """

    bytes_per_s = models.BigIntegerField("speed limit", null=True, blank=True)
    speed_windows = models.JSONField(default=list, blank=True)
    zone = models.CharField("time zone", max_length=60, blank=True)
    neighbours = models.BooleanField(
        "copy from other machines", default=True, help_text="Each model is downloaded once."
    )
    cache = models.BooleanField("keep a cache on the hub", default=False)
    cache_limit_bytes = models.BigIntegerField("size of the cache", default=200 * 2**30)
    keep_free_bytes = models.BigIntegerField("keep free on each disk", default=10 * 2**30)
    unused = models.CharField(max_length=8, choices=UnusedRule, default=UnusedRule.PROPOSE)
    unused_after_days = models.PositiveSmallIntegerField(default=30)
    check_updates = models.BooleanField("look for updates once a day", default=True)
    tries = models.PositiveSmallIntegerField(
        "tries", default=5, help_text="Of a pull that may succeed later."
    )

    class Meta:
        verbose_name = "pull settings"
        verbose_name_plural = "pull settings"

    def __str__(self) -> str:
        return "pull settings"

    @classmethod
    def read(cls) -> Self:
        """Return the one row, or what holds where nobody changed anything."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)
