"""Rows and reports in one line each. What a test does not name is ordinary."""

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from labdash import live
from labdash.models import InstalledModel, Instance, Node, PullJob, PullState
from workers import wire

GIB = 2**30
WHEN = datetime(2026, 11, 25, 20, 0, tzinfo=UTC)


def make_node(slug: str = "rog", *, urls: Iterable[str] | None = None, **fields: Any) -> Node:
    """Store a node with one Ollama server, or with those of ``urls``."""
    node = Node.objects.create(slug=slug, **fields)
    addresses = ["http://127.0.0.1:11434"] if urls is None else list(urls)
    for number, url in enumerate(addresses, start=1):
        name = "ollama" if number == 1 else f"ollama-{number}"
        Instance.objects.create(node=node, name=name, url=url)
    return node


def make_instance(slug: str = "rog", **fields: Any) -> Instance:
    """Store a node and return its only server."""
    return make_node(slug, **fields).instances.get()


def make_job(instance: Instance | None = None, **fields: Any) -> PullJob:
    """Store a pull job."""
    values = {"model": "qwen3:8b", **fields}
    return PullJob.objects.create(instance=instance or make_instance(), **values)


def running_job(instance: Instance | None = None, **fields: Any) -> PullJob:
    """Store a job that a node works on."""
    values = {
        "state": PullState.DOWNLOADING,
        "attempt": 1,
        "sent_at": timezone.now(),
        "heartbeat_at": timezone.now(),
        **fields,
    }
    return make_job(instance, **values)


def make_installed(instance: Instance, name: str = "qwen3:8b", **fields: Any) -> InstalledModel:
    """Store an installed name without a variant."""
    values = {"digest": "d" * 64, "size_bytes": 5 * GIB, "modified_at": WHEN, **fields}
    return InstalledModel.objects.create(instance=instance, name=name, **values)


def gpu(index: int = 0, **fields: Any) -> wire.GpuReading:
    """Return a reading of a card with 24 GiB."""
    values: dict[str, Any] = {
        "uuid": f"GPU-{index}",
        "index": index,
        "name": "NVIDIA GeForce RTX 3090",
        "source": "nvml",
        "memory_total_bytes": 24 * GIB,
        "memory_used_bytes": 2 * GIB,
        "memory_free_bytes": 22 * GIB,
        **fields,
    }
    return wire.GpuReading(**values)


def ollama(**fields: Any) -> wire.InstanceReading:
    """Return a reading of a server that answers."""
    values: dict[str, Any] = {
        "name": "ollama",
        "url": "http://127.0.0.1:11434",
        "state": "ok",
        "version": "0.32.15",
        "home": "process",
        "installed": True,
        "loaded": (),
        "disk": wire.DiskReading(path="/models", total_bytes=900 * GIB, free_bytes=400 * GIB),
        **fields,
    }
    return wire.InstanceReading(**values)


def loaded(name: str = "qwen3:8b", *, size_gib: float = 6, vram_gib: float = 6) -> wire.LoadedModel:
    """Return a loaded model."""
    return wire.LoadedModel(
        name=name,
        digest="d" * 64,
        size_bytes=int(size_gib * GIB),
        size_vram_bytes=int(vram_gib * GIB),
    )


def sample(slug: str = "rog", **fields: Any) -> wire.Sample:
    """Return what a healthy node with one GPU reports."""
    values: dict[str, Any] = {
        "node": slug,
        "sent_at": timezone.now(),
        "worker_version": "0.1.0",
        "driver": wire.DriverReading(state="ok", version="580.1"),
        "gpus": (gpu(),),
        "host": wire.HostReading(hostname=slug),
        "instances": (ollama(),),
        **fields,
    }
    return wire.Sample(**values)


def installed(name: str = "qwen3:8b", **fields: Any) -> wire.InstalledModel:
    """Return an entry of an inventory."""
    values: dict[str, Any] = {
        "name": name,
        "digest": f"m-{name}",
        "size_bytes": 5 * GIB,
        "modified_at": WHEN,
        "quant": "Q4_K_M",
        "format": "gguf",
        "architecture": "qwen3",
        "blob_digest": f"sha256:{name}",
        **fields,
    }
    return wire.InstalledModel(**values)


def inventory(*models: wire.InstalledModel, slug: str = "rog", **fields: Any) -> wire.Inventory:
    """Return all that is installed on a node's server."""
    values: dict[str, Any] = {"instance": "ollama", "version": "0.32.15", **fields}
    return wire.Inventory(node=slug, sent_at=timezone.now(), models=models, **values)


def progress(job: PullJob, phase: str = "downloading", **fields: Any) -> wire.PullProgress:
    """Return what a node says about a job."""
    values: dict[str, Any] = {
        "node": job.instance.node.slug,
        "sent_at": timezone.now(),
        "job_id": job.pk,
        "attempt": job.attempt,
        "phase": phase,
        **fields,
    }
    return wire.PullProgress(**values)


def seen(slug: str = "rog", *, age_s: float = 0.0, **fields: Any) -> wire.Sample:
    """Let a node have reported ``age_s`` ago."""
    report = sample(slug, **fields)
    live.save_state(report, arrived_at=timezone.now() - timedelta(seconds=age_s))
    return report


def send(report: wire.Message, *, by: str = "rog") -> str:
    """Put a report on the stream of the worker ``by``."""
    return send_text(report.model_dump_json(), by=by)


def send_text(text: str, *, by: str = "rog") -> str:
    """Put anything on the stream of the worker ``by``."""
    return str(live.store().xadd(wire.reports_key(by), {"report": text}))


def orders(to: str = "rog") -> list[dict[str, Any]]:
    """Return the orders that wait in a node's queue, the oldest first."""
    messages = reversed(live.store().lrange(wire.orders_queue(to), 0, -1))
    found = []
    for message in messages:
        envelope = json.loads(message)
        args, _, _ = json.loads(base64.b64decode(envelope["body"]))
        found.append({"task": envelope["headers"]["task"], **args[0]})
    return found
