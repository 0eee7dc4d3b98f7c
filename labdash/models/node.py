"""Machines of the lab, their GPUs and their Ollama servers."""

from typing import ClassVar

from django.core.validators import RegexValidator
from django.db import models

SLUG = RegexValidator(
    r"^[a-z0-9][a-z0-9-]{0,49}\Z", "Use small letters, digits and hyphens, at most 50."
)


class NodeKind(models.TextChoices):
    LINUX = "linux", "Linux"
    WINDOWS = "windows", "Windows"
    MAC = "mac", "Mac"


class Node(models.Model):
    """A machine that runs models.

    ``agentless`` nodes are only an Ollama URL with declared hardware, served from the hub.
    ``last_sample`` is the newest ``workers.wire.Sample`` that was stored, for the day on which
    the store is down; the newest of all is in ``labdash.live``.
    """

    slug = models.CharField("name", max_length=50, unique=True, validators=[SLUG])
    kind = models.CharField(max_length=10, choices=NodeKind, default=NodeKind.LINUX)
    agentless = models.BooleanField(
        default=False, help_text="Only an Ollama URL and declared hardware; served from the hub."
    )
    paused = models.BooleanField(default=False, help_text="Starts no new work.")
    tags = models.JSONField(
        default=list, blank=True, help_text="Words by which deployments choose machines."
    )
    pull_bytes_per_s = models.BigIntegerField(
        "speed limit of pulls", null=True, blank=True, help_text="Empty for none of its own."
    )
    keep_free_bytes = models.BigIntegerField(
        "keep free on its disk", null=True, blank=True, help_text="Empty for what the lab keeps."
    )
    declared_ram_bytes = models.BigIntegerField("RAM", null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_sample = models.JSONField(null=True, blank=True, editable=False)
    # Since when it reports without a gap in which use of its models would have gone unseen.
    watched_since = models.DateTimeField(null=True, blank=True, editable=False)
    clock_offset_s = models.FloatField(null=True, blank=True, editable=False)
    started_with = models.CharField(max_length=1000, blank=True, editable=False)
    worker_version = models.CharField(max_length=20, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.slug


class GpuSource(models.TextChoices):
    NVML = "nvml", "measured (NVML)"
    AMDGPU = "amdgpu", "measured (amdgpu)"
    DECLARED = "declared", "declared"
    SIMULATED = "simulated", "simulated"


class GpuQuerySet(models.QuerySet["Gpu"]):
    """Reads that more than one page needs."""

    def returned(self) -> "GpuQuerySet":
        """Return the cards that their owners have, by a button or for a game."""
        return self.filter(models.Q(given_back=True) | models.Q(game_on=True))


class Gpu(models.Model):
    """A GPU that was seen or declared. ``uuid`` is its identity: indexes change between boots."""

    node = models.ForeignKey(Node, models.CASCADE, related_name="gpus")
    uuid = models.CharField(max_length=80, blank=True)
    index = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=100)
    pci_id = models.CharField(max_length=32, blank=True)
    source = models.CharField(max_length=10, choices=GpuSource, default=GpuSource.DECLARED)
    unified = models.BooleanField(default=False, help_text="Its memory is a part of RAM.")
    memory_total_bytes = models.BigIntegerField(null=True, blank=True)
    reserve_bytes = models.BigIntegerField(
        "kept for its owner", default=0, help_text="The plan leaves so much free."
    )
    margin_bytes = models.BigIntegerField(
        "safety margin", null=True, blank=True, help_text="Empty for what the engine keeps."
    )
    given_back = models.BooleanField(
        "given back to its owner", default=False, help_text="The plan puts nothing on it."
    )
    game_bytes = models.BigIntegerField(
        "given back when other programs take",
        null=True,
        blank=True,
        help_text="Empty for never.",
    )
    # Since when other programs hold more than game_bytes, or hold less again.
    game_since = models.DateTimeField(null=True, blank=True, editable=False)
    game_on = models.BooleanField(default=False, editable=False)
    last_seen_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The samples before this have become periods of history.
    rolled_up_to = models.DateTimeField(null=True, blank=True, editable=False)

    objects = GpuQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["node", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["node", "uuid"], condition=~models.Q(uuid=""), name="gpu_once_per_node"
            )
        ]
        verbose_name = "GPU"

    def __str__(self) -> str:
        return f"{self.node} GPU {self.index} ({self.name})"

    @property
    def is_returned(self) -> bool:
        """Whether its owner has it, by a button or for a game."""
        return self.given_back or self.game_on


class Instance(models.Model):
    """One Ollama server on a node. A node may have several, one per set of GPUs.

    ``shelf`` is what lies in its store beside what it lists, as ``workers.wire.ShelfReading`` has
    it; ``None`` where it was not told.
    """

    node = models.ForeignKey(Node, models.CASCADE, related_name="instances")
    name = models.CharField(max_length=60, default="ollama")
    url = models.CharField(max_length=300, default="http://127.0.0.1:11434")
    version = models.CharField(max_length=40, blank=True, editable=False)
    inventory_at = models.DateTimeField(null=True, blank=True, editable=False)
    shelf = models.JSONField(null=True, blank=True, editable=False)
    declared_settings = models.JSONField(
        "its environment",
        default=dict,
        blank=True,
        help_text="Of a server whose process LabDash cannot read: OLLAMA_KV_CACHE_TYPE and such.",
    )
    declared_gpus = models.JSONField(
        "its GPUs",
        null=True,
        blank=True,
        help_text="Numbers of the node's GPUs that it sees, where LabDash cannot tell.",
    )

    class Meta:
        ordering: ClassVar = ["node", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["node", "name"], name="instance_once_per_node")
        ]

    def __str__(self) -> str:
        return f"{self.node}/{self.name}"
