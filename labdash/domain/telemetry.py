"""Samples of nodes become rows: what the node looks like, its GPUs, and their history."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from labdash.models import Gpu, GpuSample, GpuSource, Instance, Node
from workers import wire

# One tier for now: a day at one sample in 10 s is 8640 rows a GPU.
SAMPLES_KEPT_FOR = timedelta(hours=24)
# A card that is out of its machine for so long, while the machine reports, does not come back.
GPUS_KEPT_FOR = timedelta(days=30)
# So that made-up cards cannot fill the database in that time.
MOST_GPUS_KEPT = 4 * wire.MOST_GPUS
_FACTS = ("index", "name", "pci_id", "source", "unified", "memory_total_bytes")


def record_sample(sample: wire.Sample, *, arrived_at: datetime, with_history: bool) -> None:
    """Store a node's newest sample; with ``with_history`` also a ``GpuSample`` of each GPU."""
    with transaction.atomic():
        node = Node.objects.filter(slug=sample.node).first()
        if node is None:
            return
        node.last_seen_at = arrived_at
        node.last_sample = sample.model_dump(mode="json")
        node.clock_offset_s = (sample.sent_at - arrived_at).total_seconds()
        node.worker_version = sample.worker_version[:20]
        node.save(update_fields=["last_seen_at", "last_sample", "clock_offset_s", "worker_version"])
        _record_versions(node, sample.instances)
        rows = _record_gpus(node, sample.gpus, arrived_at)
        if with_history:
            GpuSample.objects.bulk_create(
                _history(row, reading, arrived_at) for row, reading in rows
            )


def prune_samples(*, now: datetime) -> int:
    """Delete the samples that are older than ``SAMPLES_KEPT_FOR``; return how many."""
    deleted, _ = GpuSample.objects.filter(at__lt=now - SAMPLES_KEPT_FOR).delete()
    return deleted


def prune_gpus(*, now: datetime) -> int:
    """Delete measured GPUs that their nodes, which report, no longer have; return how many."""
    gone = Gpu.objects.exclude(source=GpuSource.DECLARED).filter(
        last_seen_at__lt=now - GPUS_KEPT_FOR,
        node__last_seen_at__gt=F("last_seen_at") + GPUS_KEPT_FOR,
    )
    count = gone.count()
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


def _record_gpus(
    node: Node, readings: Iterable[wire.GpuReading], arrived_at: datetime
) -> list[tuple[Gpu, wire.GpuReading]]:
    """Update or add a row for each reading, and return both together."""
    known = list(node.gpus.all())
    by_uuid = {gpu.uuid: gpu for gpu in known if gpu.uuid}
    declared = {gpu.index: gpu for gpu in known if gpu.source == "declared"}
    pairs: list[tuple[Gpu, wire.GpuReading]] = []
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
            pairs.append((row, reading))
    Gpu.objects.bulk_update([row for row, _ in pairs if row.pk], [*_FACTS, "last_seen_at"])
    Gpu.objects.bulk_create(added)
    return pairs


def _update_facts(row: Gpu, reading: wire.GpuReading) -> None:
    """Take over what was read; what a lost GPU does not tell any more stays as it was known."""
    row.index = reading.index
    row.name = (reading.name or row.name or "unknown GPU")[:100]
    row.pci_id = (reading.pci_id or row.pci_id)[:32]
    row.source = reading.source
    row.unified = reading.unified
    if reading.memory_total_bytes is not None:
        row.memory_total_bytes = reading.memory_total_bytes


def _history(row: Gpu, reading: wire.GpuReading, at: datetime) -> GpuSample:
    return GpuSample(
        gpu=row,
        at=at,
        memory_used_bytes=reading.memory_used_bytes,
        utilization_percent=reading.utilization_percent,
        temperature_celsius=reading.temperature_celsius,
        power_watts=reading.power_watts,
    )
