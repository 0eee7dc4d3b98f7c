"""Wishes about models in memory: sent once, one at a time, and always ended."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.errors import LabDashError
from labdash.domain.loads import cancel, end_lost, keep, load, prune, record_load, unload
from labdash.domain.once import KEPT
from labdash.intake import Intake
from labdash.models import Instance, LoadJob, LoadState, LoadWish
from tests.factories import GIB, make_instance, orders, seen, send
from workers import wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    seen()
    return instance


def want(instance: Instance, **fields: Any) -> LoadJob:
    values = {"context": 8192, "keep_s": 300, "main_gpu": None, **fields}
    return load(instance=instance, model="qwen3:8b", user=None, **values)


def report(job: LoadJob, phase: str = "loaded", **fields: Any) -> wire.LoadProgress:
    values = {"node": "rog", "sent_at": timezone.now(), "job_id": job.pk, "phase": phase, **fields}
    return wire.LoadProgress.model_validate(values)


def tell(job: LoadJob, phase: str = "loaded", **fields: Any) -> LoadJob:
    record_load(report(job, phase, **fields), arrived_at=timezone.now())
    job.refresh_from_db()
    return job


def age(job: LoadJob, seconds: float) -> None:
    LoadJob.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


def read() -> None:
    """Let somebody read reports."""
    live.store().set(live.INTAKE_ALIVE_KEY, 1, ex=10)


def test_wish_is_a_row_and_an_order(instance: Instance) -> None:
    job = want(instance, main_gpu=1)
    (order,) = orders()
    assert order == {
        "task": "workers.load",
        "protocol": 1,
        "node": "rog",
        "job_id": job.pk,
        "instance_url": instance.url,
        "model": "qwen3:8b",
        "wish": "load",
        "context": 8192,
        "keep_s": 300,
        "main_gpu": 1,
        "deadline_s": 1800.0,
    }


def test_two_clicks_are_one_job_and_one_order(instance: Instance) -> None:
    assert want(instance) == want(instance)
    assert len(orders()) == 1


def test_other_wish_waits_for_the_one_under_way(instance: Instance) -> None:
    want(instance)
    with pytest.raises(LabDashError, match="qwen3:8b is being loaded just now"):
        want(instance, context=4096)
    with pytest.raises(LabDashError, match="qwen3:8b is being loaded just now"):
        keep(instance=instance, model="QWEN3:8b", keep_s=-1, user=None)


def test_unload_gives_a_load_up_that_is_under_way(instance: Instance) -> None:
    job = want(instance)
    assert unload(instance=instance, model="qwen3:8b", user=None) == job
    assert live.store().exists(wire.load_cancel_key("rog", job.pk))
    assert tell(job, "cancelled").state == LoadState.CANCELLED


def test_agentless_node_is_served_by_the_worker_on_the_hub() -> None:
    instance = make_instance(agentless=True)
    seen()
    job = want(instance)
    assert [order["job_id"] for order in orders(wire.HUB_NODE)] == [job.pk]
    cancel(job=job)
    assert live.store().exists(wire.load_cancel_key(wire.HUB_NODE, job.pk))


def test_keep_has_the_card_of_the_last_load(instance: Instance) -> None:
    tell(want(instance, main_gpu=1))
    job = keep(instance=instance, model="qwen3:8b", keep_s=-1, user=None)
    assert (job.wish, job.main_gpu, orders()[-1]["keep_s"]) == (LoadWish.KEEP, 1, -1)


def test_keep_of_what_was_unloaded_since_knows_no_card(instance: Instance) -> None:
    tell(want(instance, main_gpu=1))
    tell(unload(instance=instance, model="qwen3:8b", user=None), "unloaded")
    assert keep(instance=instance, model="qwen3:8b", keep_s=-1, user=None).main_gpu is None


def test_numbers_of_loads_and_pulls_do_not_stop_each_other() -> None:
    assert wire.load_cancel_key("rog", 1) != wire.cancel_key("rog", 1)


@pytest.mark.parametrize(
    ("fields", "ago", "words"),
    [({"paused": True}, 0.0, "paused"), ({}, 60.0, "silent"), ({}, None, "never reported")],
)
def test_node_on_which_nothing_can_be_done_is_told(
    fields: dict[str, Any], ago: float | None, words: str
) -> None:
    instance = make_instance(**fields)
    if ago is not None:
        seen(age_s=ago)
    with pytest.raises(LabDashError, match=words):
        want(instance)
    assert not LoadJob.objects.exists()


def test_report_tells_what_came_of_it(instance: Instance) -> None:
    place = wire.TryPlace(
        size_bytes=6 * GIB,
        size_vram_bytes=6 * GIB,
        context_length=8192,
        gpus=(wire.TryGpu(index=1, name="RTX 3090", used_bytes=7 * GIB),),
    )
    job = tell(want(instance), place=place, log=("a", "b"), meaning="why")
    assert (job.state, job.size_bytes, job.context_length) == (LoadState.LOADED, 6 * GIB, 8192)
    assert (job.gpus, job.log, job.meaning) == ([[1, "RTX 3090", 7 * GIB]], "a\nb", "why")
    assert job.finished_at


def test_report_of_another_node_and_one_after_the_end_change_nothing(instance: Instance) -> None:
    job = want(instance)
    assert not record_load(report(job, node="tower"), arrived_at=timezone.now())
    tell(job)
    assert tell(job, "failed").state == LoadState.LOADED


def test_report_comes_by_the_stream(instance: Instance) -> None:
    job = want(instance)
    send(report(job, "loading"))
    Intake().read_once(block_ms=1)
    job.refresh_from_db()
    assert job.state == LoadState.LOADING


def test_job_that_nobody_took_up_ends_and_its_order_is_worth_nothing(instance: Instance) -> None:
    job = want(instance)
    read()
    assert end_lost(now=timezone.now()) == 0
    age(job, 31)
    assert end_lost(now=timezone.now()) == 1
    job.refresh_from_db()
    assert job.state == LoadState.FAILED
    assert job.meaning.startswith("The worker of rog did not take it up.")
    assert live.store().exists(wire.load_cancel_key("rog", job.pk))


def test_job_whose_worker_goes_silent_ends(instance: Instance) -> None:
    job = want(instance)
    record_load(report(job, "loading"), arrived_at=timezone.now() - timedelta(seconds=31))
    read()
    assert end_lost(now=timezone.now()) == 1
    job.refresh_from_db()
    assert "went silent in the middle" in job.meaning


def test_cancelled_job_that_nobody_confirms_ends_as_cancelled(instance: Instance) -> None:
    job = want(instance)
    cancel(job=job)
    age(job, 31)
    read()
    end_lost(now=timezone.now())
    job.refresh_from_db()
    assert job.state == LoadState.CANCELLED


def test_silence_means_nothing_while_nobody_reads_reports(instance: Instance) -> None:
    age(want(instance), 300)
    live.store().delete(live.INTAKE_ALIVE_KEY)
    assert end_lost(now=timezone.now()) == 0


def test_only_the_newest_ended_jobs_of_a_server_are_kept(instance: Instance) -> None:
    active = want(instance)
    old = {"instance": instance, "wish": "load", "state": LoadState.FAILED}
    rows = [LoadJob(model=f"m{number}", **old) for number in range(KEPT + 3)]
    LoadJob.objects.bulk_create(rows)
    assert prune(now=timezone.now() + timedelta(seconds=1)) == 3
    assert LoadJob.objects.filter(pk=active.pk).exists()
    assert LoadJob.objects.count() == KEPT + 1
