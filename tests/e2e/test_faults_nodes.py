"""Real node workers that double, repeat or misdate; see deploy/docs/faults.md."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain import orders
from labdash.models import Node, PullJob, PullState
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import make_job, make_node
from tests.moved_clock import build
from tests.processes import eventually
from tests.simlab import OllamaLab, ollama_lab
from tests.workers.node_process import Node as Worker
from tests.workers.node_process import node_process

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hub_worker"),
]

MODEL = "qwen2.5:0.5b"
HOUR_S, DAY_S = 3600, 86400

type Start = Callable[..., Worker]


@pytest.fixture
def ollama() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


@pytest.fixture
def start(ollama: OllamaLab, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a node worker on the store of this test."""
    number = count()
    with ExitStack() as running:

        def start(slug: str, **environment: str) -> Worker:
            folder = tmp_path / f"worker-{next(number)}"
            folder.mkdir()
            settings = {"LABDASH_OLLAMA_URLS": ollama.url, **environment}
            store = os.environ["REDIS_URL"]
            worker = node_process(slug, store_url=store, folder=folder, **settings)
            return running.enter_context(worker)

        yield start


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("clock"))


def codes() -> set[str]:
    """Return what the overview would say is wrong."""
    return {problem.code for problem in find_problems(read_lab(now=timezone.now()))}


def installed(job: PullJob) -> bool:
    """Tell whether a pull came to its good end."""
    return PullJob.objects.get(pk=job.pk).state == PullState.INSTALLED


def fetched(ollama: OllamaLab) -> int:
    """Count how often the manifest was asked for: once a pull."""
    return sum("manifests" in request for request in ollama.registry.requests)


def test_two_workers_of_one_name_are_told_and_a_pull_is_done_once(
    ollama: OllamaLab, start: Start
) -> None:
    job = make_job(make_node("rog", urls=[ollama.url]).instances.get(), model=MODEL)
    start("rog")
    start("rog")
    assert eventually(lambda: "two_workers" in codes())
    assert eventually(lambda: installed(job))
    assert fetched(ollama) == 1


def test_same_order_that_comes_twice_is_carried_out_once(ollama: OllamaLab, start: Start) -> None:
    ollama.registry.head_delay_s = 1
    node = make_node("rog", urls=[ollama.url])
    job = make_job(
        node.instances.get(),
        model=MODEL,
        attempt=1,
        state=PullState.DOWNLOADING,
        sent_at=timezone.now(),
        heartbeat_at=timezone.now(),
    )
    for _ in range(2):
        orders.send_pull(job)
    start("rog")
    assert eventually(lambda: installed(job))
    assert eventually(lambda: not orders_waiting())
    assert fetched(ollama) == 1


def orders_waiting() -> int:
    return int(live.store().llen("node:rog:orders"))


def test_clocks_that_are_off_by_up_to_a_day_are_told_and_change_nothing(
    ollama: OllamaLab, start: Start, clock: Path
) -> None:
    off = {"hour": HOUR_S, "tomorrow": DAY_S, "yesterday": -DAY_S}
    models = ("qwen2.5:0.5b", "qwen3:0.6b", "tinyllama:1.1b")
    jobs = {}
    for (slug, seconds), model in zip(off.items(), models, strict=True):
        jobs[slug] = make_job(make_node(slug, urls=[ollama.url]).instances.get(), model=model)
        start(slug, LD_PRELOAD=str(clock), CLOCK_OFF_S=str(seconds))
    assert eventually(lambda: all(map(installed, jobs.values())))
    for slug, seconds in off.items():
        assert Node.objects.get(slug=slug).clock_offset_s == pytest.approx(seconds, abs=5)
    assert eventually(lambda: len(told_clocks()) == len(off))
    lab = read_lab(now=timezone.now())
    assert {view.liveness for view in lab.nodes} == {"live"}
    ends = PullJob.objects.values_list("finished_at", flat=True)
    assert all(abs(end - timezone.now()) < timedelta(minutes=5) for end in ends if end)


def told_clocks() -> set[str]:
    found = find_problems(read_lab(now=timezone.now()))
    return {problem.node for problem in found if problem.code == "clock"}
