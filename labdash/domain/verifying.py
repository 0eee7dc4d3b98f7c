"""Compare the plan in force with what memory shows, and remember how good predictions were."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from labdash.models import (
    Gpu,
    ItemState,
    LoadState,
    LoadWish,
    PlanItem,
    Prediction,
    Residency,
    Verdict,
)
from labdash.planner.verify import Checked, Expected, Seen, verify
from labdash.queries.lab import NodeView
from labdash.queries.memory_now import InMemory, models_on
from labdash.queries.upkeep import Upkeep, in_memory
from labdash.queries.visible import seen_by

log = logging.getLogger(__name__)

# A server lists a model a moment after it said that it is loaded.
SETTLES_S = 2.0
# An unchanged verdict is dated anew so often, and no oftener.
DATED_EVERY = timedelta(seconds=30)
# Smaller changes of what is measured are not stored.
CHANGE_BYTES = 16 * 2**20
TEXT_LENGTH = 500
# So many loads are remembered.
MOST_PREDICTIONS = 5000
_FITTING = (Verdict.AS_PLANNED, Verdict.MORE)


def check(upkeep: Upkeep, views: Iterable[NodeView], *, now: datetime) -> int:
    """Judge all that is served on nodes that report; return how many verdicts are new."""
    changed = 0
    for view in views:
        if view.liveness not in {"live", "late"} or view.sample is None:
            continue
        for item in upkeep.served:
            if item.instance.node_id == view.node.pk and item.state == ItemState.READY:
                changed += _check(item, upkeep, view, now=now)
    return changed


def prune(*, now: datetime) -> int:
    """Delete the oldest predictions beyond those that are remembered."""
    newest = Prediction.objects.filter(at__lte=now).values_list("pk", flat=True)
    kept = list(newest[:MOST_PREDICTIONS])
    if len(kept) < MOST_PREDICTIONS:
        return 0
    return Prediction.objects.exclude(pk__in=kept).filter(at__lte=now).delete()[0]


def _check(item: PlanItem, upkeep: Upkeep, view: NodeView, *, now: datetime) -> bool:
    if not _is_settled(item, view, now=now):
        return False
    found = in_memory(item, view, upkeep.served)
    checked = verify(_expected(item, view), _seen(item, found, view))
    is_new = _store(item, checked, now=now)
    if found is not None and found.held is not None and checked.verdict in _FITTING:
        _remember(item, found, view, now=now)
    return is_new


def _is_settled(item: PlanItem, view: NodeView, *, now: datetime) -> bool:
    """Whether the newest sample was taken after the last load."""
    arrived_at = now - timedelta(seconds=view.age_s or 0.0)
    job = item.load_job
    ended_at = job.finished_at if job else None
    return ended_at is None or arrived_at >= ended_at + timedelta(seconds=SETTLES_S)


def _expected(item: PlanItem, view: NodeView) -> Expected:
    return Expected(
        bytes=item.bytes,
        layers=item.layers,
        ctx=item.ctx,
        visible_gpus=_visible_gpus(item, view),
        overheads=item.overheads,
        left_out_bytes=item.left_out_bytes,
        doubt_bytes=item.doubt_bytes,
    )


def _visible_gpus(item: PlanItem, view: NodeView) -> int:
    """Count the GPUs that its server sees, as far as that is told."""
    sample = view.sample
    if item.instance.declared_gpus is not None:
        return len(item.instance.declared_gpus)
    if sample is None:
        return 0
    reading = next((r for r in sample.instances if r.name == item.instance.name), None)
    seen = seen_by(reading, sample.gpus) if reading else None
    return len(sample.gpus) if seen is None or seen.gpus is None else len(seen.gpus)


def _seen(item: PlanItem, found: InMemory | None, view: NodeView) -> Seen:
    if found is None:
        listed = None if models_on(view, item.instance.name) is None else False
        return Seen(listed=listed, was_loaded=_was_loaded(item))
    return Seen(
        listed=True,
        was_loaded=_was_loaded(item),
        ctx=found.ctx,
        size_bytes=found.size_bytes,
        size_vram_bytes=found.size_vram_bytes,
        leaves_out_context=found.leaves_out_context,
        gpu_bytes=found.held,
    )


def _was_loaded(item: PlanItem) -> bool:
    """Whether it was brought into memory; what loads on demand comes and goes."""
    job = item.load_job
    if item.residency != Residency.RESIDENT or job is None:
        return False
    return job.wish == LoadWish.LOAD and job.state == LoadState.LOADED


def _store(item: PlanItem, checked: Checked, *, now: datetime) -> bool:
    """Write a verdict down where it tells anything new."""
    observed = {
        each.device: each.seen_bytes for each in checked.devices if each.seen_bytes is not None
    }
    is_new = item.verdict != checked.verdict
    is_due = item.checked_at is None or now - item.checked_at > DATED_EVERY
    if not is_new and not is_due and not _differs(item.observed, observed):
        return False
    changes: dict[str, Any] = {
        "verdict": checked.verdict,
        "verdict_text": checked.text[:TEXT_LENGTH],
        "observed": observed,
        "checked_at": now,
    }
    if is_new:
        changes["verdict_since"] = now
    unchanged = PlanItem.objects.filter(pk=item.pk, state=item.state, verdict=item.verdict)
    if not unchanged.update(**changes):
        return False
    for name, value in changes.items():
        setattr(item, name, value)
    if is_new:
        log.info("verdict item=%d verdict=%s", item.pk, checked.verdict)
    return is_new


def _differs(before: dict[str, int], after: dict[str, int]) -> bool:
    if before.keys() != after.keys():
        return True
    return any(abs(before[device] - size) > CHANGE_BYTES for device, size in after.items())


def _remember(item: PlanItem, found: InMemory, view: NodeView, *, now: datetime) -> None:
    """Keep what was predicted and seen of a load, once each."""
    job = item.load_job
    if job is None or not _was_loaded(item) or item.learned_from == job.pk:
        return
    unlearned = PlanItem.objects.filter(pk=item.pk, load_job=job).exclude(learned_from=job.pk)
    if not unlearned.update(learned_from=job.pk):
        return
    item.learned_from = job.pk
    cards = {f"{view.node.slug}/{gpu.index}": gpu for gpu in view.node.gpus.all()}
    driver = view.sample.driver.version if view.sample else None
    held = found.held or {}
    Prediction.objects.bulk_create(
        _prediction(item, device, cards[device], held[device], driver or "", now)
        for device in sorted(item.overheads)
        if device in cards and device in held
    )


def _prediction(
    item: PlanItem, device: str, card: Gpu, held: int, driver: str, now: datetime
) -> Prediction:
    return Prediction(
        at=now,
        instance=item.instance,
        gpu=card,
        gpu_name=card.name,
        driver=driver[:40],
        engine=item.instance.version,
        model=item.model,
        quant=item.quant,
        ctx=item.ctx,
        buffers_bytes=item.bytes[device] - item.overheads[device],
        overhead_bytes=item.overheads[device],
        observed_bytes=held,
    )
