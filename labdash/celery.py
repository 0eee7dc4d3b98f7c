"""The hub's Celery app: one queue, and one table of what happens when."""

import os
import ssl
import sys
from typing import Any

from celery import Celery
from celery.signals import celeryd_init
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labdash.settings")

from django.conf import settings

from labdash.checks import refuse_unprepared
from labdash.env import BadSetting

QUEUE = "hub"
# What was not begun within this time is done by a later tick; hub and beat share one clock.
EXPIRES_S = 30
BEAT = {
    "tell that beat runs": ("labdash.tasks.note_beat", 5.0),
    "reconcile pulls": ("labdash.tasks.reconcile", 2.0),
    "keep the timetable": ("labdash.tasks.keep_timetable", 20.0),
    "tend the plan in force": ("labdash.tasks.tend", 2.0),
    "tell the cache what to do": ("labdash.tasks.tend_cache", 2.0),
    "record problems": ("labdash.tasks.record_problems", 5.0),
    "let in who joined, and nobody else": ("labdash.tasks.assert_accounts", 5.0),
    "assert what the nodes shall serve": ("labdash.tasks.publish_specs", 30.0),
    "look for newer versions": ("labdash.tasks.look_upstream", 30.0),
    "delete what nobody uses": ("labdash.tasks.tidy", 600.0),
    "drop stale orders": ("labdash.tasks.drop_stale_orders", 60.0),
    "roll history up": ("labdash.tasks.roll_up", 20.0),
    "prune": ("labdash.tasks.prune", 600.0),
}


def broker_url(redis_url: str) -> str:
    """Return the store's address as kombu writes it, from the way redis-py writes it."""
    if not redis_url.startswith("unix://"):
        return redis_url
    address, _, query = redis_url.removeprefix("unix://").partition("?")
    options = [part.replace("db=", "virtual_host=", 1) for part in query.split("&") if part]
    return f"redis+socket://{address}?{'&'.join(options) or 'virtual_host=0'}"


def tls(url: str) -> dict[str, ssl.VerifyMode]:
    """Return what ``rediss://`` asks for unless it says otherwise: kombu would check nothing."""
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss://") else {}


app = Celery("labdash", include=["labdash.tasks", "labdash.intake"])
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    broker_use_ssl=tls(settings.REDIS_URL),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_connect_timeout": 5, "socket_keepalive": True},
    task_queues=[Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)],
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    # Early acks and no results: rows are the truth, and every task may run twice.
    task_acks_late=False,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    timezone="UTC",
    # Kept in memory: nothing here is rarer than a day, and a file can be broken by a power cut.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        name: {"task": task, "schedule": every_s, "options": {"expires": EXPIRES_S}}
        for name, (task, every_s) in BEAT.items()
    },
)


def _refuse_unprepared(**_: Any) -> None:
    """End a worker; an exception would only be logged here."""
    try:
        refuse_unprepared()
    except BadSetting as error:
        sys.stderr.write(f"labdash: {error}\n")
        sys.exit(2)


celeryd_init.connect(_refuse_unprepared)
