"""Who needs no tour of the guide any more."""

from django.conf import settings
from django.db import models


class TourClosed(models.Model):
    """Somebody who closed the guide's tour: it is not offered again, after signing out neither."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    closed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "tours closed"

    def __str__(self) -> str:
        return f"tour closed by {self.user}"
