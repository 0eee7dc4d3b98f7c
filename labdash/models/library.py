"""Model families, their variants, and what is installed where."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from labdash.models.node import Instance


class Family(models.Model):
    """One model at one size, such as ``qwen3:14b``, whatever its quant."""

    name = models.CharField(max_length=120, unique=True)
    architecture = models.CharField(max_length=60, blank=True)
    parameter_count = models.BigIntegerField(null=True, blank=True)
    context_length = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "families"

    def __str__(self) -> str:
        return self.name


class Variant(models.Model):
    """One file of weights of a family. ``blob_digest`` is its identity where it is known.

    ``vision`` is None where no server said what it can do.
    """

    family = models.ForeignKey(Family, models.CASCADE, related_name="variants")
    quant = models.CharField(max_length=30, blank=True)
    format = models.CharField(max_length=20, default="gguf")
    blob_digest = models.CharField(max_length=80, unique=True, null=True, blank=True)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    vision = models.BooleanField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["family", "size_bytes"]

    def __str__(self) -> str:
        return f"{self.family} {self.quant}".strip()

    @property
    def can_be_quantized(self) -> bool:
        """Whether Ollama makes smaller files of it: it does so of 16 and 32 bits alone."""
        return self.format == "gguf" and self.quant.upper() in {"F16", "BF16", "F32"}


# Under such names LabDash keeps what an update or a copy replaces, until that is done.
KEPT_FOLDER, REPLACED_FOLDER = "labdash-before/", "labdash-replaced/"


class InstalledModelQuerySet(models.QuerySet["InstalledModel"]):
    """Reads that more than one page needs."""

    def in_use(self) -> "InstalledModelQuerySet":
        """Leave out what is kept for a way back: nobody plans, loads or pulls it."""
        kept = models.Q(name__istartswith=KEPT_FOLDER)
        return self.exclude(kept | models.Q(name__istartswith=REPLACED_FOLDER))


class InstalledModel(models.Model):
    """A name on an instance. Cloud stubs have no variant: they have no weights here.

    ``last_used_at`` is when it was last seen in memory, to the minute; ``None`` for never since
    ``first_seen_at``.
    """

    instance = models.ForeignKey(Instance, models.CASCADE, related_name="installed_models")
    variant = models.ForeignKey(
        Variant, models.SET_NULL, null=True, blank=True, related_name="installed_models"
    )
    name = models.CharField(max_length=350)
    digest = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    modified_at = models.DateTimeField()
    is_cloud = models.BooleanField(default=False)
    parent_model = models.CharField(max_length=350, blank=True)
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = InstalledModelQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["instance", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instance", "name"], name="name_once_per_instance")
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.instance}"
