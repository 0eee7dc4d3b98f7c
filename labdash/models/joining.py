"""What lets a machine become a node over the network, and stay one."""

from typing import ClassVar

from django.db import models

from labdash.models.node import Node


class Invitation(models.Model):
    """A line that makes a machine this node, once; its token is stored hashed."""

    node = models.OneToOneField(Node, models.CASCADE, related_name="invitation")
    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.node}, until {self.expires_at:%H:%M}"


class Membership(models.Model):
    """The account in the store of a node that joined; its password is stored hashed.

    ``address`` is whence it joined.
    """

    node = models.OneToOneField(Node, models.CASCADE, related_name="membership")
    password_hash = models.CharField(max_length=64)
    joined_at = models.DateTimeField(auto_now=True)
    address = models.GenericIPAddressField()
    hostname = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering: ClassVar = ["node"]

    def __str__(self) -> str:
        return f"{self.node}, since {self.joined_at:%Y-%m-%d %H:%M}"
