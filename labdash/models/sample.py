"""How GPUs looked over time: samples of the last hour, and what was made of those before."""

from typing import ClassVar

from django.db import models

from labdash.models.node import Gpu


class Tier(models.IntegerChoices):
    """How long a period of history is, in seconds."""

    MINUTE = 60, "1 minute"
    TEN_MINUTES = 600, "10 minutes"
    TWO_HOURS = 7200, "2 hours"


class GpuSample(models.Model):
    """One GPU in one second. What it did not report is null.

    ``held`` says in bytes what lay in its memory: ``model:NAME``, ``other``, ``reserve``. It is
    null where nobody knew.
    """

    gpu = models.ForeignKey(Gpu, models.CASCADE, related_name="samples", db_index=False)
    at = models.DateTimeField()
    memory_used_bytes = models.BigIntegerField(null=True)
    utilization_percent = models.PositiveSmallIntegerField(null=True)
    temperature_celsius = models.SmallIntegerField(null=True)
    power_watts = models.FloatField(null=True)
    held = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["gpu", "at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["gpu", "at"], name="sample_once_per_second")
        ]
        verbose_name = "GPU sample"

    def __str__(self) -> str:
        return f"{self.gpu} at {self.at:%H:%M:%S}"


class GpuPeriod(models.Model):
    """One GPU over a period that begins at ``at``: averages and peaks. ``held`` is on average.

    Of each five seconds in which it was measured ``samples`` counts one, so that a time that
    somebody watched, with more samples, weighs no more than others.
    """

    gpu = models.ForeignKey(Gpu, models.CASCADE, related_name="periods", db_index=False)
    length_s = models.PositiveSmallIntegerField("length", choices=Tier)
    at = models.DateTimeField()
    samples = models.PositiveIntegerField()
    memory_used_bytes = models.BigIntegerField(null=True)
    memory_peak_bytes = models.BigIntegerField(null=True)
    utilization_percent = models.FloatField(null=True)
    utilization_peak_percent = models.FloatField(null=True)
    temperature_celsius = models.FloatField(null=True)
    temperature_peak_celsius = models.FloatField(null=True)
    power_watts = models.FloatField(null=True)
    power_peak_watts = models.FloatField(null=True)
    held = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["gpu", "length_s", "at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["gpu", "length_s", "at"], name="period_once")
        ]
        verbose_name = "GPU history"
        verbose_name_plural = "GPU history"

    def __str__(self) -> str:
        return f"{self.gpu}, {self.get_length_s_display()} from {self.at:%d %b %Y, %H:%M}"
