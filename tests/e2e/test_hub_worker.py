"""A real hub worker process and its scheduler, between a real store and a real database."""

import signal
from typing import TYPE_CHECKING

import pytest

from labdash import live
from labdash.models import Gpu, InstalledModel, Node, Problem, PullJob, PullState
from tests.factories import (
    gpu,
    installed,
    inventory,
    make_job,
    make_node,
    orders,
    progress,
    sample,
    send,
    send_text,
)
from tests.processes import eventually

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


def test_reports_become_rows_and_a_pull_runs_to_its_end(
    hub_worker: "subprocess.Popen[bytes]",
) -> None:
    job = make_job(make_node("rog").instances.get())
    send_text("noise")
    send(sample("rog", gpus=(gpu(0), gpu(1, state="lost"))))
    assert eventually(lambda: Gpu.objects.count() == 2)
    assert eventually(lambda: Problem.objects.filter(code="gpu_lost").exists())
    assert eventually(lambda: [order["job_id"] for order in orders()] == [job.pk])
    job.refresh_from_db()
    send(progress(job, "downloading", done_bytes=1, total_bytes=2))
    assert eventually(lambda: PullJob.objects.get().state == PullState.DOWNLOADING)
    send(progress(job, "installed"))
    send(inventory(installed(job.model)))
    assert eventually(lambda: PullJob.objects.get().state == PullState.INSTALLED)
    assert eventually(lambda: InstalledModel.objects.filter(name=job.model).exists())


def test_a_store_that_forgets_everything_changes_nothing_for_long(
    hub_worker: "subprocess.Popen[bytes]",
) -> None:
    make_node("rog")
    send(sample("rog"))
    assert eventually(lambda: Node.objects.filter(last_seen_at__isnull=False).exists())
    live.store().flushall()
    job = make_job(Node.objects.get().instances.get())
    send(sample("rog", worker_version="9"))
    assert eventually(lambda: "rog" in live.read_states(["rog"]))
    assert eventually(lambda: [order["job_id"] for order in orders()] == [job.pk])


def test_the_scheduler_leaves_a_trace_through_the_worker_which_ends_when_asked(
    hub_worker: "subprocess.Popen[bytes]",
) -> None:
    live.store().delete(live.BEAT_ALIVE_KEY)
    assert eventually(lambda: live.read_live([]).beat_alive)
    hub_worker.send_signal(signal.SIGTERM)
    assert hub_worker.wait(timeout=30) == 0
