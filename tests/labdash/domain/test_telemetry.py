"""Samples become rows."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain import telemetry
from labdash.domain.history import moment_of
from labdash.domain.telemetry import prune_gpus, record_sample
from labdash.models import Gpu, GpuSample, GpuSource, InstalledModel, Instance, Node
from tests.factories import (
    GIB,
    WHEN,
    gpu,
    loaded,
    make_installed,
    make_instance,
    make_node,
    ollama,
    sample,
)
from workers import wire

pytestmark = pytest.mark.django_db


def record(report: wire.Sample, **options: Any) -> None:
    """Record a sample that arrives now."""
    options = {"arrived_at": timezone.now(), **options}
    moments = [moment_of(report, at=options["arrived_at"])]
    record_sample(report, **{"moments": moments, **options})


def test_a_node_keeps_its_newest_sample_and_when_it_came() -> None:
    make_node()
    report, now = sample("rog"), timezone.now()
    record(report, arrived_at=now)
    node = Node.objects.get()
    assert (node.last_seen_at, node.worker_version) == (now, "0.1.0")
    assert wire.Sample.model_validate(node.last_sample) == report


@pytest.mark.parametrize("offset_s", [-90.0, 12.5])
def test_the_offset_of_a_clock_is_the_nodes_less_the_hubs(offset_s: float) -> None:
    make_node()
    now = timezone.now()
    record(sample("rog", sent_at=now + timedelta(seconds=offset_s)), arrived_at=now)
    assert Node.objects.get().clock_offset_s == offset_s


def test_a_gpu_is_known_by_its_uuid_whatever_its_index() -> None:
    make_node()
    record(sample("rog", gpus=(gpu(0, uuid="A"), gpu(1, uuid="B"))))
    record(sample("rog", gpus=(gpu(0, uuid="B"), gpu(1, uuid="A", pci_id="0000:01:00.0"))))
    assert list(Gpu.objects.values_list("uuid", "index", "pci_id")) == [
        ("B", 0, ""),
        ("A", 1, "0000:01:00.0"),
    ]


def test_a_lost_gpu_keeps_what_was_known_of_it() -> None:
    make_node()
    record(sample("rog", gpus=(gpu(uuid="A"),)))
    lost = wire.GpuReading(uuid="A", index=0, source="nvml", state="lost")
    record(sample("rog", gpus=(lost,)))
    row = Gpu.objects.get()
    assert (row.name, row.memory_total_bytes) == ("NVIDIA GeForce RTX 3090", 24 * GIB)


def test_a_declared_gpu_stays_as_its_owner_typed_it() -> None:
    node = make_node("attic", agentless=True)
    Gpu.objects.create(node=node, name="my 4070", memory_total_bytes=12 * GIB)
    reading = gpu(uuid="declared-attic-0", source="declared", name="other", memory_total_bytes=1)
    record(sample("attic", gpus=(reading,)))
    row = Gpu.objects.get()
    assert (row.name, row.memory_total_bytes, row.source) == (
        "my 4070",
        12 * GIB,
        GpuSource.DECLARED,
    )
    assert row.last_seen_at is not None


def test_history_holds_what_each_gpu_reported_and_null_for_the_rest() -> None:
    make_node()
    record(sample("rog", gpus=(gpu(utilization_percent=70, power_watts=None),)))
    row = GpuSample.objects.get()
    assert (row.utilization_percent, row.power_watts, row.memory_used_bytes) == (70, None, 2 * GIB)


def test_no_history_is_kept_where_none_is_due() -> None:
    make_node()
    record(sample("rog"), moments=())
    assert (Gpu.objects.count(), GpuSample.objects.count()) == (1, 0)


def test_the_version_of_a_server_is_kept_while_it_is_down() -> None:
    make_node()
    record(sample("rog", instances=(ollama(version="0.32.15"),)))
    record(sample("rog", instances=(ollama(state="refused", version=None),)))
    assert Instance.objects.get().version == "0.32.15"


def test_a_sample_of_no_node_is_dropped() -> None:
    record(sample("nobody"))
    assert not Gpu.objects.exists()


def test_two_readings_of_one_gpu_are_one_gpu() -> None:
    make_node()
    report, now = sample("rog", gpus=(gpu(0, uuid="A"), gpu(1, uuid="A"))), timezone.now()
    record(report, arrived_at=now - timedelta(seconds=5))
    record(report, arrived_at=now)
    assert (Gpu.objects.get().index, GpuSample.objects.count()) == (1, 2)


def test_made_up_gpus_cannot_fill_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MOST_GPUS_KEPT", 3)
    make_node()
    for number in range(5):
        record(sample("rog", gpus=(gpu(uuid=f"A{number}"), gpu(uuid=f"B{number}"))))
    assert (Gpu.objects.count(), GpuSample.objects.count()) == (3, 3)


@pytest.mark.parametrize("days", [1, 29, 31, 400])
def test_a_gpu_that_its_node_has_not_reported_for_30_days_is_pruned(days: int) -> None:
    make_node()
    now = timezone.now()
    record(sample("rog", gpus=(gpu(uuid="old"),)), arrived_at=now - timedelta(days=days))
    record(sample("rog", gpus=(gpu(uuid="new"),)), arrived_at=now)
    assert prune_gpus(now=now) == (1 if days > 30 else 0)
    assert Gpu.objects.filter(uuid="new").exists()


def test_the_gpus_of_a_node_that_is_away_and_declared_ones_are_never_pruned() -> None:
    now = timezone.now()
    make_node("rog")
    attic = make_node("attic", agentless=True, last_seen_at=now)
    Gpu.objects.create(node=attic, name="P40", last_seen_at=now - timedelta(days=400))
    record(sample("rog"), arrived_at=now - timedelta(days=400))
    assert (prune_gpus(now=now), Gpu.objects.count()) == (0, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_queries_for_three_gpus_as_for_one(
    count: int, django_assert_num_queries: Any
) -> None:
    make_node()
    report = sample("rog", gpus=tuple(gpu(index) for index in range(count)))
    record(report)
    with django_assert_num_queries(9):
        record(report)


def used(row: InstalledModel) -> datetime | None:
    row.refresh_from_db()
    return row.last_used_at


def test_the_last_use_of_a_model_is_kept_to_the_minute() -> None:
    instance = make_instance()
    row, other = make_installed(instance), make_installed(instance, "gemma3:4b")
    report = sample(instances=(ollama(loaded=(loaded(),)),))
    for second in (0, 5, 59):
        record_sample(report, arrived_at=WHEN + timedelta(seconds=second))
    assert (used(row), used(other)) == (WHEN, None)
    record_sample(report, arrived_at=WHEN + timedelta(seconds=60))
    assert used(row) == WHEN + timedelta(seconds=60)


def test_a_long_silence_begins_a_new_watch() -> None:
    node = make_node()
    moments = [WHEN, WHEN + timedelta(hours=20), WHEN + timedelta(hours=45)]
    since = []
    for moment in moments:
        record_sample(sample(), arrived_at=moment)
        node.refresh_from_db()
        since.append(node.watched_since)
    assert since == [moments[0], moments[0], moments[2]]
