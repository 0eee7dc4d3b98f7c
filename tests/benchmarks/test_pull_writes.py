"""What a running pull writes: to the store by its worker and the hub, and to the database."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from labdash import live
from labdash.domain.reconciliation import carry_on
from labdash.intake import Intake
from labdash.models import PullJob
from tests.factories import make_instance, running_job, seen
from tests.figures import Tell
from workers.engines.reporter import Reporter
from workers.engines.stream import Line
from workers.engines.tally import Tally
from workers.store import Store
from workers.wire import PullOrder

pytestmark = [pytest.mark.long, pytest.mark.django_db]

PULLS = 4
LASTS_S = 20.0
# As Ollama tells lines.
LINE_S = 0.06
TICK_S = 2.0
MOST_A_SECOND = 2.0
WRITES = ("xadd", "xtrim", "hset", "set", "del", "expire")


class Counter:
    """Counts what this process writes to its database."""

    def __init__(self) -> None:
        self.writes = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.writes += sql.lstrip().upper().startswith(("UPDATE", "INSERT", "DELETE"))
        return execute(sql, params, many, context)


def store_writes() -> int:
    """Return how many writes the store has carried out."""
    stats = live.store().info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in WRITES)


def order(job: PullJob) -> PullOrder:
    return PullOrder(
        node="rog",
        job_id=job.pk,
        attempt=job.attempt,
        instance=job.instance.name,
        instance_url=job.instance.url,
        model=job.model,
        deadline_s=60,
    )


@contextmanager
def pulling(job: PullJob, store: Store) -> Iterator[None]:
    """Report a download as a worker does, in a thread of its own."""
    tally, ended = Tally(now=time.monotonic()), threading.Event()
    reporter = Reporter(order(job), store=store, tally=tally)

    def report() -> None:
        done = 0
        while not ended.wait(LINE_S):
            done += 10**6
            line = Line(status="pulling a", digest="a", total=10**10, completed=done)
            tally.add(line, now=time.monotonic())
            reporter.drop_cancelled()
            reporter.report_if_due(tally.phase)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def writes_a_second(jobs: list[PullJob], store: Store) -> tuple[float, float]:
    """Let a hub take in what comes of these pulls; return its writes to store and database."""
    intake, counter = Intake(), Counter()
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(pulling(job, store))
        before, began, ticked = store_writes(), time.monotonic(), 0.0
        with connection.execute_wrapper(counter):
            while (now := time.monotonic() - began) < LASTS_S:
                intake.read_once(block_ms=200)
                if now - ticked > TICK_S:
                    seen("rog")
                    carry_on()
                    ticked = now
        return (store_writes() - before) / LASTS_S, counter.writes / LASTS_S


def test_running_pull_writes_little(tell: Tell) -> None:
    first = running_job(make_instance("rog"), model="m0:1b")
    node = first.instance.node
    others = [
        running_job(
            node.instances.create(name=f"o{number}", url=f"http://127.0.0.1:{number}"),
            model=f"m{number}:1b",
        )
        for number in range(1, PULLS)
    ]
    store = Store(settings.REDIS_URL, slug="rog")
    idle_store, idle_database = writes_a_second([], store)
    busy_store, busy_database = writes_a_second([first, *others], store)
    in_store, in_database = (
        (busy_store - idle_store) / PULLS,
        (busy_database - idle_database) / PULLS,
    )
    told = f"{in_store:.2f} to the store, {in_database:.2f} to the database"
    tell("writes of a running pull", f"{told} a second", goal="2")
    assert in_database > 0
    assert in_store + in_database <= MOST_A_SECOND
