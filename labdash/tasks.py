"""The hub worker's tasks: each calls one thing and may run twice."""

import logging

from django.utils import timezone

from labdash import live
from labdash.celery import app
from labdash.domain import (
    access,
    applying,
    caching,
    history,
    joining,
    loads,
    moving,
    naming,
    nodes,
    orders,
    problems,
    pulls,
    reconciliation,
    renewing,
    schedule_runs,
    telemetry,
    tending,
    tidying,
    timetable,
    updates,
    updating,
    upstream,
    verifying,
)
from labdash.live import StoreDown
from labdash.planner import greedy

log = logging.getLogger(__name__)


@app.task(name="labdash.tasks.note_beat")
def note_beat() -> None:
    """Leave a trace of the scheduler: without it, nothing below is done."""
    try:
        live.note_beat()
    except StoreDown as error:
        log.warning("scheduler not noted: %s", error)


@app.task(name="labdash.tasks.reconcile")
def reconcile() -> None:
    """Carry pull jobs and updates on, and end the jobs by hand that are lost."""
    reconciliation.carry_on()
    updating.carry_on(now=timezone.now())
    loads.end_lost(now=timezone.now())
    naming.end_lost(now=timezone.now())
    moving.carry_on(now=timezone.now())


@app.task(name="labdash.tasks.keep_timetable")
def keep_timetable() -> None:
    """Begin the schedules that are due, and carry on what runs of them."""
    timetable.tick(now=timezone.now())


@app.task(name="labdash.tasks.tend")
def tend() -> None:
    """Carry the plan in force on, compare it with what is seen, and keep it up."""
    tending.tend(now=timezone.now(), planner=greedy.quick)


@app.task(name="labdash.tasks.tend_cache")
def tend_cache() -> None:
    """Want the cache's process or not, and tell it what to do."""
    caching.tend(now=timezone.now())


@app.task(name="labdash.tasks.tidy")
def tidy() -> None:
    """Delete what nobody uses, where the owner has said so."""
    tidying.tidy(now=timezone.now())


@app.task(name="labdash.tasks.record_problems")
def record_problems() -> None:
    """Keep since when each problem has been one."""
    problems.record_problems(now=timezone.now())


@app.task(name="labdash.tasks.publish_specs")
def publish_specs() -> None:
    """Tell the workers again what they serve, for a store that forgot it."""
    try:
        nodes.publish_specs()
    except StoreDown as error:
        log.warning("specs not published: %s", error)


@app.task(name="labdash.tasks.assert_accounts")
def assert_accounts() -> None:
    """Let in the nodes that joined and nobody else, also after the store forgot them."""
    joining.tend_door()
    try:
        joining.assert_accounts()
    except StoreDown as error:
        log.warning("accounts of nodes not asserted: %s", error)


@app.task(name="labdash.tasks.drop_stale_orders")
def drop_stale_orders() -> None:
    """Empty the queues of nodes that have been silent for a day."""
    try:
        orders.drop_stale(now=timezone.now())
    except StoreDown as error:
        log.warning("stale orders not dropped: %s", error)


@app.task(name="labdash.tasks.roll_up")
def roll_up() -> None:
    """Make history of the samples of the last minute."""
    history.roll_up(now=timezone.now())


@app.task(name="labdash.tasks.look_upstream")
def look_upstream() -> None:
    """Ask registries for the names that are due, and see who has an older version."""
    upstream.look(now=timezone.now())
    upstream.count_behind()
    renewing.renew_stale(now=timezone.now())


@app.task(name="labdash.tasks.prune")
def prune() -> None:
    """Delete what is too old to be of use."""
    now = timezone.now()
    # First: what is older than its tier is kept for may not be rolled up after a long stop.
    history.roll_up(now=now)
    rows, gpus = history.prune(now=now), telemetry.prune_gpus(now=now)
    attempts = access.forget_attempts()
    loads.prune(now=now)
    naming.prune(now=now)
    pulls.prune(now=now)
    moving.prune(now=now)
    verifying.prune(now=now)
    updates.prune(now=now)
    upstream.prune(now=now)
    applying.prune()
    schedule_runs.prune(now=now)
    log.info("pruned history=%d gpus=%d attempts=%d", rows, gpus, attempts)
