"""What guards the door: one-time codes and counted attempts."""

from typing import ClassVar

from django.db import models


class CodePurpose(models.TextChoices):
    SETUP = "setup", "make the owner"
    RESET = "reset", "reset the password"


class OneTimeCode(models.Model):
    """A code printed in the terminal that makes the owner or resets the password; stored hashed."""

    purpose = models.CharField(max_length=10, choices=CodePurpose, default=CodePurpose.SETUP)
    code_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"code of {self.created_at:%Y-%m-%d %H:%M}"


class Attempt(models.Model):
    """A failed sign-in or set-up, counted per address and in all."""

    address = models.GenericIPAddressField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.address} at {self.at:%H:%M:%S}"
