"""What ``manage.py status --json`` prints."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.models import PullState
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from labdash.queries.status import read_status
from tests.factories import GIB, gpu, loaded, make_job, make_node, ollama, running_job, seen
from workers import wire

pytestmark = pytest.mark.django_db


def test_the_shape_is_the_one_that_scripts_rely_on() -> None:
    job = running_job(make_node("rog").instances.get(), done_bytes=1, total_bytes=2)
    seen("rog", gpus=(gpu(), gpu(1, state="lost")), instances=(ollama(loaded=(loaded(),)),))
    status = json.loads(json.dumps(read_status(now=timezone.now())))
    assert set(status) == {"nodes", "jobs", "problems", "plan"}
    assert status["plan"] is None
    (node,) = status["nodes"]
    assert set(node) == {"slug", "state", "age_s", "gpus", "instances", "loaded"}
    assert (node["slug"], node["state"], node["age_s"] < 5) == ("rog", "live", True)
    shown = {key: node["gpus"][0][key] for key in ("uuid", "total_bytes", "used_bytes")}
    assert shown == {"uuid": "GPU-0", "total_bytes": 24 * GIB, "used_bytes": 2 * GIB}
    assert node["loaded"][0]["model"] == "qwen3:8b"
    assert node["instances"][0]["version"] == "0.32.15"
    assert status["jobs"] == [
        {
            "id": job.pk,
            "node": "rog",
            "model": "qwen3:8b",
            "state": "downloading",
            "cancel_requested": False,
            "done_bytes": 1,
            "total_bytes": 2,
            "bytes_per_s": None,
            "reason": None,
        }
    ]
    assert [set(problem) for problem in status["problems"]] == [
        {"code", "node", "text", "since", "next_step"}
    ]


@pytest.mark.parametrize(
    ("fields", "reading", "figures"),
    [
        ({}, ollama(), ("measured", 2 * GIB, 22 * GIB)),
        ({"memory_used_bytes": None}, ollama(loaded=(loaded(),)), ("ollama", 6 * GIB, 18 * GIB)),
        (
            {"memory_used_bytes": None},
            ollama(state="refused", loaded=None),
            ("unknown", None, None),
        ),
        ({"state": "lost", "memory_free_bytes": None}, ollama(), ("unknown", None, None)),
    ],
)
def test_what_a_gpu_holds_comes_with_who_knows_it(
    fields: dict[str, Any], reading: wire.InstanceReading, figures: tuple[Any, ...]
) -> None:
    make_node("rog")
    card = gpu(**{"memory_free_bytes": None, **fields}) if fields else gpu()
    seen("rog", gpus=(card,), instances=(reading,))
    (told,) = read_status(now=timezone.now())["nodes"][0]["gpus"]
    assert (told["basis"], told["used_bytes"], told["free_bytes"]) == figures


def test_a_node_that_never_reported_has_no_age() -> None:
    make_node("rog")
    (node,) = read_status(now=timezone.now())["nodes"]
    assert (node["state"], node["age_s"], node["gpus"]) == ("never", None, [])


def test_jobs_that_ended_lately_are_shown_after_those_under_way() -> None:
    instance = make_node("rog").instances.get()
    now = timezone.now()
    running = running_job(instance)
    failed = make_job(instance, state=PullState.FAILED, reason="Why.", finished_at=now)
    make_job(instance, state=PullState.FAILED, finished_at=now - timedelta(hours=2))
    jobs = read_status(now=now)["jobs"]
    assert [(job["id"], job["reason"]) for job in jobs] == [(running.pk, None), (failed.pk, "Why.")]


def test_a_job_that_is_being_cancelled_says_so() -> None:
    running_job(make_node("rog").instances.get(), cancel_requested=True)
    (job,) = read_status(now=timezone.now())["jobs"]
    assert (job["state"], job["cancel_requested"]) == ("downloading", True)


def test_problems_are_those_of_the_pages() -> None:
    make_node("rog")
    now = timezone.now()
    shown = [problem.text for problem in find_problems(read_lab(now=now))]
    assert [problem["text"] for problem in read_status(now=now)["problems"]] == shown != []
