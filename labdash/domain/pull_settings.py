"""What holds for all pulls, as people set it."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction

from labdash.domain.reconciliation import carry_on
from labdash.models import Node, PullJob, PullSettings
from labdash.queries.pacing import SpeedWindow, write_windows


def set_up(
    *,
    values: Mapping[str, Any],
    windows: Iterable[SpeedWindow],
    by_node: Mapping[int, Mapping[str, int | None]],
) -> None:
    """Store what holds for the lab, and for nodes by their keys. Running pulls obey at once."""
    wanted = {**values, "speed_windows": write_windows(windows)}
    with transaction.atomic():
        PullSettings.objects.update_or_create(pk=1, defaults=wanted)
        for pk, own in by_node.items():
            Node.objects.filter(pk=pk).update(**own)
        # Rests were reckoned by what held before.
        resting = PullJob.objects.active().filter(rest_until_at__isnull=False)
        resting.update(rest_until_at=None)
        transaction.on_commit(carry_on)
