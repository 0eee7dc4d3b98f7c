"""What is wrong and since when."""

from typing import ClassVar

from django.db import models


class Problem(models.Model):
    """Something wrong that the owner should know.

    ``node_slug`` is empty for what concerns the hub itself; ``subject`` tells problems of one
    code on one node apart (a GPU's UUID, an instance's name).
    """

    code = models.CharField(max_length=40)
    node_slug = models.CharField(max_length=50, blank=True)
    subject = models.CharField(max_length=120, blank=True)
    text = models.CharField(max_length=500)
    since = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["since", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["code", "node_slug", "subject"], name="problem_once")
        ]

    def __str__(self) -> str:
        return self.text
