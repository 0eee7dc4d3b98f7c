"""Residents are brought back in order, and never against the user."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain import loads
from labdash.domain.applying import note_progress, resume
from labdash.domain.loads import record_load
from labdash.domain.tending import tend
from labdash.models import Gpu, Instance, ItemState, LoadJob, Plan, PlanItem, PlanState
from labdash.planner.greedy import quick
from tests.factories import (
    GIB,
    gpu,
    loaded,
    make_installed,
    make_instance,
    ollama,
    orders,
    running_job,
    sample,
    seen,
)
from tests.plan_rows import ON_DEMAND, in_force, make_item
from workers import wire

pytestmark = pytest.mark.django_db

SOON = timedelta(seconds=15)


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    make_installed(instance, "qwen3:8b")
    return instance


def report(now: datetime, **fields: Any) -> None:
    live.save_state(sample(**fields), arrived_at=now)


def tick(now: datetime, **fields: Any) -> None:
    report(now, **fields)
    tend(now=now, planner=quick)


def gone_for_long(**fields: Any) -> datetime:
    """Let two ticks pass in which memory is empty."""
    now = timezone.now()
    tick(now, **fields)
    tick(now + SOON, **fields)
    return now + SOON


def test_resident_that_left_is_made_and_loaded_anew(instance: Instance) -> None:
    item = in_force(instance)
    now = timezone.now()
    tick(now)
    item.refresh_from_db()
    assert (item.verdict, item.state, orders()) == ("not-loaded", ItemState.READY, [])
    tick(now + SOON)
    item.refresh_from_db()
    assert (item.state, item.mended, item.verdict) == (ItemState.CREATING, 1, "")
    assert [order["task"] for order in orders()] == ["workers.create"]
    note_progress(
        wire.ApplyProgress(node="rog", sent_at=now, job_id=item.pk, step="create", phase="done"),
        arrived_at=now,
    )
    tick(now + 2 * SOON)
    assert orders()[-1]["task"] == "workers.load"
    record_load(
        wire.LoadProgress(node="rog", sent_at=now, job_id=LoadJob.objects.get().pk, phase="loaded"),
        arrived_at=now + 2 * SOON,
    )
    there = loaded("labdash/chat:latest").model_copy(update={"context_length": 8192})
    process = wire.GpuProcess(
        pid=1, name="llama-server", used_bytes=6 * GIB, model="labdash/chat:latest"
    )
    tick(
        now + 3 * SOON,
        gpus=(gpu(processes=(process,)),),
        instances=(ollama(loaded=(there,)),),
    )
    item.refresh_from_db()
    assert (item.state, item.verdict) == (ItemState.READY, "as-planned")
    assert Plan.objects.get().state == PlanState.CURRENT


def test_what_loads_on_demand_is_not_loaded(instance: Instance) -> None:
    in_force(instance, residency=ON_DEMAND)
    gone_for_long()
    assert orders() == []


@pytest.mark.parametrize("hand", ["unload", "load"])
def test_hand_of_the_user_wins_until_the_plan_is_resumed(instance: Instance, hand: str) -> None:
    item = in_force(instance)
    seen()
    if hand == "unload":
        loads.unload(instance=instance, model="labdash/chat", user=None)
    else:
        loads.load(instance=instance, model="x", context=None, keep_s=9, main_gpu=None, user=None)
    job = LoadJob.objects.get()
    record_load(
        wire.LoadProgress(node="rog", sent_at=timezone.now(), job_id=job.pk, phase=f"{hand}ed"),
        arrived_at=timezone.now(),
    )
    sent = len(orders())
    gone_for_long()
    assert len(orders()) == sent
    resume(plan=item.plan)
    gone_for_long()
    assert len(orders()) == sent + 1


def test_model_that_was_unloaded_by_hand_stays_so_for_hours(instance: Instance) -> None:
    in_force(instance)
    seen()
    loads.unload(instance=instance, model="labdash/chat", user=None)
    LoadJob.objects.update(state="unloaded")
    later = timezone.now() + timedelta(hours=5)
    for minutes in range(0, 30, 5):
        tick(later + timedelta(minutes=minutes))
    assert len(orders()) == 1


def test_nothing_is_done_where_somebody_has_a_model_of_their_own(instance: Instance) -> None:
    in_force(instance)
    gone_for_long(instances=(ollama(loaded=(loaded("llama3:8b"),)),))
    assert orders() == []


def test_runner_that_somebody_took_by_the_models_own_name_is_left_to_them(
    instance: Instance,
) -> None:
    in_force(instance)
    theirs = wire.GpuProcess(pid=9, name="llama-server", used_bytes=6 * GIB, model="qwen3:8b")
    cards = (gpu(processes=()), gpu(1, processes=(theirs,)))
    gone_for_long(gpus=cards, instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    assert orders() == []


def test_nothing_is_done_while_a_download_runs(instance: Instance) -> None:
    in_force(instance)
    running_job(instance, model="x:1b")
    gone_for_long()
    assert orders() == []


def test_nothing_is_done_on_a_card_of_which_its_owner_makes_use(instance: Instance) -> None:
    row = Gpu.objects.create(node=instance.node, index=0, name="RTX 3090", given_back=True)
    item = in_force(instance)
    Plan.objects.update(without=[row.pk])
    gone_for_long()
    item.refresh_from_db()
    assert (item.state, orders()) == (ItemState.READY, [])


def test_nothing_is_done_on_paused_nodes(instance: Instance) -> None:
    in_force(instance)
    instance.node.paused = True
    instance.node.save()
    gone_for_long()
    assert orders() == []


def test_later_model_leaves_first_where_the_order_matters(instance: Instance) -> None:
    both = {"rog/0": 5 * GIB, "rog/1": 5 * GIB}
    wide = in_force(instance, bytes=both, layers={"rog/0": 20, "rog/1": 17})
    late = make_item(wide.plan, instance, "late", load_order=2, state=ItemState.READY)
    name = "labdash/late:latest"
    process = wire.GpuProcess(pid=1, name="llama-server", used_bytes=6 * GIB, model=name)
    there = loaded(name).model_copy(update={"context_length": 8192})
    gone_for_long(
        gpus=(gpu(processes=(process,)), gpu(1, processes=())),
        instances=(ollama(loaded=(there,)),),
    )
    wide.refresh_from_db()
    late.refresh_from_db()
    assert (late.state, wide.state) == (ItemState.UNLOADING, ItemState.CREATING)
    assert (late.mended, wide.mended) == (1, 1)
    assert {(order["task"], order["model"]) for order in orders()} == {
        ("workers.load", "labdash/late"),
        ("workers.create", "labdash/chat"),
    }


def test_an_adversary_meets_a_few_mends_an_hour(instance: Instance) -> None:
    item = in_force(instance)
    now = timezone.now()
    mends = 0
    for _ in range(14):
        now += timedelta(minutes=4)
        tick(now)
        item.refresh_from_db()
        if item.state != ItemState.READY:
            mends += 1
            # Loaded, and evicted at once.
            PlanItem.objects.update(state=ItemState.READY, sent_at=None, load_job=None)
    assert (mends, item.mended) == (4, 4)
