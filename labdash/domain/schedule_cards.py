"""Cards that a schedule gives back to their owners, and takes again when its window closes."""

import logging

from labdash.domain import returning
from labdash.domain.errors import LabDashError
from labdash.models import Gpu, ScheduleRun
from labdash.queries.schedule_targets import gpus_of

log = logging.getLogger(__name__)

NO_CARD = "There was no GPU to give back."


def give(*, run: ScheduleRun) -> None:
    """Give cards back, and remember which: not those that a person gave back before."""
    held = _held_by_others(run)
    for gpu in gpus_of(run.schedule.nodes):
        if not gpu.given_back:
            returning.give_back(gpu=gpu, by=run.requested_by)
        elif gpu.pk not in held:
            continue
        run.gpus.append(gpu.pk)
    if not run.gpus:
        run.notes = [*run.notes, NO_CARD]
    run.save(update_fields=["gpus", "notes"])


def take(*, run: ScheduleRun) -> None:
    """Take the run's cards again, but for those that another run still has given back."""
    ours = set(run.gpus) - _held_by_others(run)
    for gpu in Gpu.objects.filter(pk__in=ours, given_back=True):
        try:
            returning.take_back(gpu=gpu)
        except LabDashError as error:
            log.info("gpu not taken again gpu=%d: %s", gpu.pk, error)


def _held_by_others(run: ScheduleRun) -> set[int]:
    others = ScheduleRun.objects.running().exclude(pk=run.pk).values_list("gpus", flat=True)
    return {key for keys in others for key in keys}
