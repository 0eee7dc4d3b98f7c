"""What the owner wants served."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

DEPLOYMENT_NAME = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,59}\Z",
    "Use letters, digits, dots, colons and hyphens, at most 60.",
)
LEAST_CTX = 256
MOST_CTX = 2**24
LEAST_PRIORITY, MOST_PRIORITY = 1, 9
MOST_REPLICAS = 16


class Prefer(models.TextChoices):
    """What counts most once everything is served."""

    QUALITY = "quality", "quality"
    CONTEXT = "context", "context"
    SPEED = "speed", "speed"


class Residency(models.TextChoices):
    RESIDENT = "resident", "stays in memory"
    ON_DEMAND = "on-demand", "loads when asked"


class Deployment(models.Model):
    """A model that is to be served, from the least that will do to what is wished.

    Contexts are of one slot. ``nodes`` are names of nodes and tags, ``kv_types`` those that will
    do, ``keep_apart`` names of deployments, ``give_way`` what shrinks first; empty lists ask for
    nothing. ``same_name``: the model is made under its own name instead of an alias.
    """

    name = models.CharField(max_length=60, unique=True, validators=[DEPLOYMENT_NAME])
    model = models.CharField(max_length=350)
    quant_floor = models.CharField("least quant", max_length=30, blank=True)
    quant_wish = models.CharField("wished quant", max_length=30, blank=True)
    ctx_floor = models.PositiveIntegerField(
        "least context",
        default=8192,
        validators=[MinValueValidator(LEAST_CTX), MaxValueValidator(MOST_CTX)],
    )
    ctx_wish = models.PositiveIntegerField(
        "wished context",
        default=32768,
        validators=[MinValueValidator(LEAST_CTX), MaxValueValidator(MOST_CTX)],
    )
    priority = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(LEAST_PRIORITY), MaxValueValidator(MOST_PRIORITY)],
        help_text="1 is most important.",
    )
    prefer = models.CharField(max_length=8, choices=Prefer, default=Prefer.QUALITY)
    residency = models.CharField(max_length=10, choices=Residency, default=Residency.RESIDENT)
    offload_allowed = models.BooleanField("may use the CPU", default=False)
    replicas = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_REPLICAS)]
    )
    nodes = models.JSONField(default=list, blank=True)
    pin = models.CharField(max_length=60, blank=True)
    keep_apart = models.JSONField(default=list, blank=True)
    min_tokens_per_s = models.FloatField(
        "least tokens a second", null=True, blank=True, validators=[MinValueValidator(0)]
    )
    give_way = models.JSONField(default=list, blank=True)
    parallel = models.PositiveSmallIntegerField(
        "slots", null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(64)]
    )
    kv_types = models.JSONField("KV cache types", default=list, blank=True)
    same_name = models.BooleanField("under the model's own name", default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["priority", "name"]

    def __str__(self) -> str:
        return self.name
