"""Samples of nodes become rows: what the node looks like, and its GPUs."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from labdash.domain import history
from labdash.models import Gpu, GpuSource, InstalledModel, Instance, Node
from workers import wire

# A card that is out of its machine for so long, while the machine reports, does not come back.
GPUS_KEPT_FOR = timedelta(days=30)
# So that made-up cards cannot fill the database in that time.
MOST_GPUS_KEPT = 4 * wire.MOST_GPUS
_SEEN = ("last_seen_at", "last_sample", "clock_offset_s", "worker_version", "watched_since")
# In a shorter silence nothing was used that would not be used again soon.
UNWATCHED_AFTER = timedelta(days=1)
# So coarsely the last use of a model is kept.
USE_EVERY = timedelta(minutes=1)
_FACTS = ("index", "name", "pci_id", "source", "unified", "memory_total_bytes")


def record_sample(
    sample: wire.Sample, *, arrived_at: datetime, moments: Iterable[history.Moment] = ()
) -> None:
    """Store a node's newest sample, and what its GPUs showed since the one before."""
    with transaction.atomic():
        node = Node.objects.filter(slug=sample.node).first()
        if node is None:
            return
        if node.last_seen_at is None or arrived_at - node.last_seen_at > UNWATCHED_AFTER:
            node.watched_since = arrived_at
        node.last_seen_at = arrived_at
        node.last_sample = sample.model_dump(mode="json")
        node.clock_offset_s = (sample.sent_at - arrived_at).total_seconds()
        node.worker_version = sample.worker_version[:20]
        node.save(update_fields=_SEEN)
        _record_versions(node, sample.instances)
        _record_use(node, sample.instances, arrived_at)
        history.store_moments(_record_gpus(node, sample.gpus, arrived_at), moments)


def prune_gpus(*, now: datetime) -> int:
    """Delete measured GPUs that their nodes, which report, no longer have; return how many."""
    gone = Gpu.objects.exclude(source=GpuSource.DECLARED).filter(
        last_seen_at__lt=now - GPUS_KEPT_FOR,
        node__last_seen_at__gt=F("last_seen_at") + GPUS_KEPT_FOR,
    )
    count = gone.count()
    history.forget(gone)
    gone.delete()
    return count


def _record_versions(node: Node, readings: Iterable[wire.InstanceReading]) -> None:
    versions = {reading.name: reading.version[:40] for reading in readings if reading.version}
    changed = []
    for instance in node.instances.all():
        version = versions.get(instance.name, instance.version)
        if version != instance.version:
            instance.version = version
            changed.append(instance)
    Instance.objects.bulk_update(changed, ["version"])


def _record_use(node: Node, readings: Iterable[wire.InstanceReading], arrived_at: datetime) -> None:
    """Keep that models are in memory now, once a minute for each."""
    for reading in readings:
        names = [model.name for model in reading.loaded or ()]
        if names:
            rows = InstalledModel.objects.filter(instance__node=node, instance__name=reading.name)
            stale = Q(last_used_at=None) | Q(last_used_at__lte=arrived_at - USE_EVERY)
            rows.filter(stale, name__in=names).update(last_used_at=arrived_at)


def _record_gpus(
    node: Node, readings: Iterable[wire.GpuReading], arrived_at: datetime
) -> dict[str, Gpu]:
    """Update or add a row for each reading, and return it by the uuid that was read."""
    known = list(node.gpus.all())
    by_uuid = {gpu.uuid: gpu for gpu in known if gpu.uuid}
    declared = {gpu.index: gpu for gpu in known if gpu.source == "declared"}
    rows: dict[str, Gpu] = {}
    added: list[Gpu] = []
    for reading in {reading.uuid: reading for reading in readings}.values():
        if reading.source == "declared":
            row = declared.get(reading.index)
        else:
            row = by_uuid.get(reading.uuid)
            if row is None and len(known) + len(added) < MOST_GPUS_KEPT:
                row = Gpu(node=node, uuid=reading.uuid)
                added.append(row)
            if row is not None:
                _update_facts(row, reading)
        if row is not None:
            row.last_seen_at = arrived_at
            rows[reading.uuid] = row
    seen = [row for row in rows.values() if row.pk]
    Gpu.objects.bulk_update(seen, [*_FACTS, "last_seen_at"])
    Gpu.objects.bulk_create(added)
    return rows


def _update_facts(row: Gpu, reading: wire.GpuReading) -> None:
    """Take over what was read; what a lost GPU does not tell any more stays as it was known."""
    row.index = reading.index
    row.name = (reading.name or row.name or "unknown GPU")[:100]
    row.pci_id = (reading.pci_id or row.pci_id)[:32]
    row.source = reading.source
    row.unified = reading.unified
    if reading.memory_total_bytes is not None:
        row.memory_total_bytes = reading.memory_total_bytes
