"""What memory shows is compared with the plan, and each fresh load is remembered once."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.verifying import check
from labdash.models import (
    Gpu,
    Instance,
    ItemState,
    LoadJob,
    LoadState,
    LoadWish,
    PlanItem,
    Prediction,
)
from labdash.queries.lab import read_lab
from labdash.queries.upkeep import read_upkeep
from tests.factories import GIB, gpu, loaded, make_instance, ollama, seen
from tests.plan_rows import ON_DEMAND, in_force, make_item
from workers import wire

pytestmark = pytest.mark.django_db

ALIAS = "labdash/chat:latest"


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    for index in (0, 1):
        Gpu.objects.create(node=instance.node, index=index, uuid=f"GPU-{index}", name="RTX 3090")
    return instance


def look() -> int:
    now = timezone.now()
    upkeep = read_upkeep()
    assert upkeep
    return check(upkeep, read_lab(now=now).nodes, now=now)


def verdict(item: PlanItem) -> str:
    look()
    item.refresh_from_db()
    return item.verdict


def shows(held: dict[int, float], *, name: str = ALIAS, ctx: int = 8192, **fields: Any) -> None:
    """Let a model be in memory with so many GiB on each GPU."""
    gpus = [
        gpu(
            index,
            processes=tuple(
                wire.GpuProcess(
                    pid=7, name="llama-server", used_bytes=round(size * GIB), model=name
                )
                for size in [held[index]]
                if size
            ),
        )
        for index in sorted(held)
    ]
    entry = loaded(name, **fields).model_copy(update={"context_length": ctx})
    seen(gpus=tuple(gpus), instances=(ollama(loaded=(entry,)),))


def load_of(item: PlanItem, *, ago_s: float = 60.0) -> LoadJob:
    """Let the plan have loaded an item."""
    job = LoadJob.objects.create(
        instance=item.instance,
        model=item.alias,
        wish=LoadWish.LOAD,
        state=LoadState.LOADED,
        by_plan=True,
        finished_at=timezone.now() - timedelta(seconds=ago_s),
    )
    PlanItem.objects.filter(pk=item.pk).update(load_job=job)
    return job


@pytest.mark.parametrize(
    ("held", "fields", "expected"),
    [
        ({0: 6.0, 1: 0.0}, {}, "as-planned"),
        ({0: 7.0, 1: 0.0}, {}, "more"),
        ({0: 0.0, 1: 6.0}, {}, "wrong-gpu"),
        ({0: 4.0, 1: 0.0}, {"vram_gib": 4}, "spilled"),
        ({0: 6.0, 1: 0.0}, {"ctx": 4096}, "evicted"),
    ],
)
def test_each_kind_of_drift_has_its_verdict(
    instance: Instance, held: dict[int, float], fields: dict[str, Any], expected: str
) -> None:
    item = in_force(instance)
    load_of(item)
    shows(held, **fields)
    assert verdict(item) == expected
    assert item.verdict_text
    assert item.checked_at
    assert item.verdict_since


def test_what_was_loaded_and_is_gone_was_evicted(instance: Instance) -> None:
    item = in_force(instance)
    seen()
    assert verdict(item) == "not-loaded"
    load_of(item)
    assert verdict(item) == "evicted"


def test_on_demand_model_is_never_evicted_but_not_loaded(instance: Instance) -> None:
    item = in_force(instance, residency=ON_DEMAND)
    seen()
    assert verdict(item) == "not-loaded"


def test_server_that_says_nothing_cannot_be_checked(instance: Instance) -> None:
    item = in_force(instance)
    seen(instances=(ollama(state="timeout", loaded=None),))
    assert verdict(item) == "cannot-check"


def test_sample_from_before_the_end_of_the_load_is_no_evidence(instance: Instance) -> None:
    item = in_force(instance)
    load_of(item, ago_s=0)
    seen()
    assert verdict(item) == ""


def test_silent_node_and_open_items_keep_their_verdict(instance: Instance) -> None:
    item = in_force(instance, verdict="as-planned")
    seen(age_s=60)
    assert verdict(item) == "as-planned"
    seen()
    PlanItem.objects.update(state=ItemState.LOADING)
    assert verdict(item) == "as-planned"


def test_second_of_a_runner_is_seen_by_the_name_of_either(instance: Instance) -> None:
    first = in_force(instance)
    second = make_item(first.plan, instance, "twin", shares="chat", state=ItemState.READY)
    for name in (ALIAS, "labdash/twin:latest"):
        shows({0: 6.0}, name=name)
        assert (verdict(first), verdict(second)) == ("as-planned", "as-planned")


def test_unchanged_verdict_is_not_written_again(instance: Instance) -> None:
    item = in_force(instance)
    shows({0: 6.0})
    assert look() == 1
    item.refresh_from_db()
    before = item.checked_at
    shows({0: 6.001})
    assert look() == 0
    item.refresh_from_db()
    assert item.checked_at == before
    assert item.observed == {"rog/0": 6 * GIB}


def test_fresh_load_is_remembered_once_for_each_gpu(instance: Instance) -> None:
    both = {"rog/0": 4 * GIB, "rog/1": 3 * GIB}
    item = in_force(
        instance, bytes=both, layers={"rog/0": 20, "rog/1": 17}, overheads=dict.fromkeys(both, GIB)
    )
    shows({0: 4.0, 1: 3.0}, size_gib=7, vram_gib=7)
    assert verdict(item) == "as-planned"
    assert not Prediction.objects.exists()
    load_of(item)
    look()
    look()
    rows = Prediction.objects.order_by("gpu__index")
    assert [(row.gpu_name, row.driver, row.engine) for row in rows] == [
        ("RTX 3090", "580.1", ""),
        ("RTX 3090", "580.1", ""),
    ]
    assert [(row.buffers_bytes, row.overhead_bytes, row.observed_bytes) for row in rows] == [
        (3 * GIB, GIB, 4 * GIB),
        (2 * GIB, GIB, 3 * GIB),
    ]
    assert [row.error_bytes for row in rows] == [0, 0]
    load_of(item)
    look()
    assert Prediction.objects.count() == 4


def test_load_that_spilled_teaches_nothing(instance: Instance) -> None:
    item = in_force(instance)
    load_of(item)
    shows({0: 4.0}, vram_gib=4)
    assert verdict(item) == "spilled"
    assert not Prediction.objects.exists()
