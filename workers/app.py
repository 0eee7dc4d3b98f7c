"""The node's Celery app: one queue, whose keys all begin with ``node:<slug>:``.

Settings as they were tried: early acks, JSON only, no results, no remote control, no events;
the broker is sought for ever.
"""

import socket
import ssl
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from workers.config import NodeConfig
from workers.wire import orders_queue

# Threads that a pull may hold for hours; they are made only when used.
THREADS = 32


def make_app(config: NodeConfig) -> Celery:
    """Make the app of one node."""
    app = Celery("labdash-node", broker=config.broker_url, set_as_current=False)
    app.conf.update(_settings(config.slug), broker_use_ssl=_tls(config.broker_url))
    return app


def make_worker(app: Celery, config: NodeConfig) -> Any:
    """Make the worker; ``start()`` serves until SIGTERM and sets ``exitcode``."""
    return app.Worker(
        hostname=f"{config.slug}@{socket.gethostname()}",
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


def _tls(url: str) -> dict[str, ssl.VerifyMode]:
    """Return what ``rediss://`` asks for unless it says otherwise: kombu would check nothing."""
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss://") else {}


def _settings(slug: str) -> dict[str, Any]:
    queue = orders_queue(slug)
    return {
        "task_queues": [_queue(queue)],
        "task_default_queue": queue,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_pool": "threads",
        "worker_concurrency": THREADS,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": _transport(slug),
    }


def _queue(name: str) -> Queue:
    """A queue whose binding the hub declares: a node may not write where orders are delivered."""
    exchange = Exchange(name, no_declare=True)
    return Queue(name, exchange, routing_key=name, no_declare=True)


def _transport(slug: str) -> dict[str, Any]:
    names = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
    keys = {name: f"node:{slug}:{name.removesuffix('_key')}" for name in names}
    return keys | {"socket_keepalive": True, "socket_connect_timeout": 5}
