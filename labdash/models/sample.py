"""How GPUs looked over time."""

from typing import ClassVar

from django.db import models

from labdash.models.node import Gpu


class GpuSample(models.Model):
    """One GPU at one moment. What it did not report is null."""

    gpu = models.ForeignKey(Gpu, models.CASCADE, related_name="samples")
    at = models.DateTimeField()
    memory_used_bytes = models.BigIntegerField(null=True)
    utilization_percent = models.PositiveSmallIntegerField(null=True)
    temperature_celsius = models.SmallIntegerField(null=True)
    power_watts = models.FloatField(null=True)

    class Meta:
        ordering: ClassVar = ["gpu", "at"]
        indexes: ClassVar = [models.Index(fields=["gpu", "at"])]
        verbose_name = "GPU sample"

    def __str__(self) -> str:
        return f"{self.gpu} at {self.at:%H:%M:%S}"
