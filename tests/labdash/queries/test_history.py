"""How GPUs did, in few points."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache

from labdash.models import Gpu, GpuSample, Node
from labdash.queries.history import SCALES, gpu_history, memory_by_node

NOW = datetime(2026, 11, 25, 12, 30, 10, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    cache.clear()


def make_gpu(slug: str = "rog", index: int = 0) -> Gpu:
    node, _ = Node.objects.get_or_create(slug=slug)
    return Gpu.objects.create(node=node, uuid=f"{slug}-{index}", index=index, name="P40")


def measure(gpu: Gpu, ago_s: float, **values: float | None) -> None:
    GpuSample.objects.create(gpu=gpu, at=NOW - timedelta(seconds=ago_s), **values)


def test_minute_keeps_the_peak_of_memory_and_the_mean_of_the_rest() -> None:
    gpu = make_gpu()
    measure(gpu, 20, memory_used_bytes=5, temperature_celsius=40, utilization_percent=10)
    measure(gpu, 40, memory_used_bytes=9, temperature_celsius=50, utilization_percent=25)
    found = gpu_history([gpu.pk], "1h", now=NOW)[gpu.pk]
    assert found["memory_used_bytes"][-1] == 9
    assert found["temperature_celsius"][-1] == 45
    assert found["utilization_percent"][-1] == 17.5
    assert found["power_watts"] == (None,) * 60


@pytest.mark.parametrize(("span", "ago_s"), [("1h", 3600), ("24h", 86400)])
def test_series_begins_where_its_span_does(span: str, ago_s: float) -> None:
    scale = SCALES["1h" if span == "1h" else "24h"]
    gpu = make_gpu()
    measure(gpu, ago_s, memory_used_bytes=1)
    measure(gpu, ago_s + scale.bucket_s, memory_used_bytes=2)
    found = gpu_history([gpu.pk], "1h" if span == "1h" else "24h", now=NOW)[gpu.pk]
    series = found["memory_used_bytes"]
    assert len(series) == scale.buckets
    assert series[0] == 1
    assert series[1:] == (None,) * (scale.buckets - 1)


def test_bucket_that_still_fills_is_left_out() -> None:
    gpu = make_gpu()
    measure(gpu, 5, memory_used_bytes=1)
    assert set(gpu_history([gpu.pk], "1h", now=NOW)[gpu.pk]["memory_used_bytes"]) == {None}


def test_other_gpus_are_left_out() -> None:
    gpu, other = make_gpu(), make_gpu("oldie")
    measure(other, 30, memory_used_bytes=1)
    assert list(gpu_history([gpu.pk], "1h", now=NOW)) == [gpu.pk]


def test_memory_of_a_node_sums_its_gpus() -> None:
    first, second = make_gpu(index=0), make_gpu(index=1)
    measure(first, 30, memory_used_bytes=3)
    measure(second, 30, memory_used_bytes=4)
    measure(make_gpu("oldie"), 30, memory_used_bytes=None)
    found = memory_by_node(now=NOW)
    assert list(found) == ["rog"]
    assert found["rog"][-1] == 7


def test_memory_of_nodes_is_counted_once_a_minute() -> None:
    gpu = make_gpu()
    measure(gpu, 30, memory_used_bytes=3)
    assert memory_by_node(now=NOW)["rog"][-1] == 3
    measure(gpu, 31, memory_used_bytes=5)
    assert memory_by_node(now=NOW)["rog"][-1] == 3
    assert memory_by_node(now=NOW + timedelta(minutes=1))["rog"][-2] == 5
