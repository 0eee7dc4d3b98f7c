"""The lab as ``manage.py status`` prints it. The shape of the dict is what scripts rely on."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from labdash.models import PlanItem, PullJob
from labdash.queries.bars import GpuView, loaded_models, view_gpus
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.library import Library
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.pulls import silence_s
from labdash.queries.upkeep_rows import Upkeep
from workers import wire

# Jobs that ended lately are shown too, so that a script sees how its pull ended.
ENDED_FOR = timedelta(hours=1)
MOST_ENDED = 20
# Quants and colours are for pages.
_NO_LIBRARY = Library(families={}, quants={})


@dataclass(frozen=True, kw_only=True)
class StatusView:
    """The lab with its pull jobs and what is wrong."""

    lab: LabView
    jobs: tuple[PullJob, ...]
    problems: tuple[ProblemView, ...]


def read_status_view(*, now: datetime) -> StatusView:
    """Read everything once."""
    lab = read_lab(now=now)
    return StatusView(lab=lab, jobs=tuple(_jobs(now)), problems=find_problems(lab))


def read_status(*, now: datetime) -> dict[str, Any]:
    """Return nodes, jobs and open problems, as plain values that JSON can hold."""
    return as_json(read_status_view(now=now))


def as_json(view: StatusView) -> dict[str, Any]:
    """Return the view as plain values."""
    return {
        "nodes": [_node(node) for node in view.lab.nodes],
        "jobs": [_job(job, view.lab.now) for job in view.jobs],
        "problems": [_problem(problem) for problem in view.problems],
        "plan": _plan(view.lab.upkeep),
    }


def gpus_of(view: NodeView) -> tuple[GpuView, ...]:
    """Return the GPUs of a node as the pages show them."""
    return view_gpus(view, loaded_models(view, _NO_LIBRARY))


def _node(view: NodeView) -> dict[str, Any]:
    sample = view.sample
    return {
        "slug": view.node.slug,
        "state": view.liveness,
        "age_s": None if view.age_s is None else round(view.age_s, 1),
        "gpus": [_gpu(gpu) for gpu in gpus_of(view)],
        "instances": [_instance(each) for each in sample.instances] if sample else [],
        "loaded": [
            _loaded(each, model)
            for each in (sample.instances if sample else ())
            for model in each.loaded or ()
        ],
    }


def _gpu(seen: GpuView) -> dict[str, Any]:
    gpu, bar = seen.reading, seen.bar
    free = sum(part.size_bytes for part in bar.segments if part.kind == "free")
    return {
        "name": gpu.name,
        "uuid": gpu.uuid,
        "total_bytes": bar.total_bytes,
        "used_bytes": bar.used_bytes,
        "free_bytes": free if seen.basis == "ollama" else gpu.memory_free_bytes,
        "basis": seen.basis,
        "reserved_bytes": gpu.memory_reserved_bytes,
        "index": gpu.index,
        "state": gpu.state,
        "source": gpu.source,
        "utilization_percent": gpu.utilization_percent,
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
    }


def _instance(reading: wire.InstanceReading) -> dict[str, Any]:
    return {
        "name": reading.name,
        "url": reading.url,
        "state": reading.state,
        "reason": reading.reason,
        "version": reading.version,
        "disk_free_bytes": reading.disk.free_bytes if reading.disk else None,
    }


def _loaded(reading: wire.InstanceReading, model: wire.LoadedModel) -> dict[str, Any]:
    return {
        "instance": reading.name,
        "model": model.name,
        "size_bytes": model.size_bytes,
        "size_vram_bytes": model.size_vram_bytes,
        "context_length": model.context_length,
    }


def _jobs(now: datetime) -> list[PullJob]:
    jobs = PullJob.objects.select_related("instance__node")
    ended = jobs.filter(finished_at__gt=now - ENDED_FOR).order_by("-finished_at")[:MOST_ENDED]
    return [*jobs.active().order_by("created_at", "pk"), *ended]


def _job(job: PullJob, now: datetime) -> dict[str, Any]:
    return {
        "id": job.pk,
        "node": job.instance.node.slug,
        "model": job.model,
        "state": job.state,
        "cancel_requested": job.cancel_requested,
        "done_bytes": job.done_bytes,
        "total_bytes": job.total_bytes,
        "bytes_per_s": job.bytes_per_s if silence_s(job, now) is None else None,
        "reason": job.reason or None,
    }


def _problem(problem: ProblemView) -> dict[str, Any]:
    return {
        "code": problem.code,
        "node": problem.node or None,
        "text": problem.text,
        "since": problem.since.isoformat() if problem.since else None,
        "next_step": problem.next_step,
    }


def _plan(upkeep: Upkeep | None) -> dict[str, Any] | None:
    """Return the plan in force, None where there is none."""
    if upkeep is None:
        return None
    plan = upkeep.plan
    return {
        "id": plan.pk,
        "state": plan.state,
        "since": (plan.applied_at or plan.created_at).isoformat(),
        "why": plan.why or None,
        "items": [_item(item) for item in upkeep.items],
    }


def _item(item: PlanItem) -> dict[str, Any]:
    return {
        "deployment": item.deployment_name or None,
        "wish": item.wish,
        "node": item.instance.node.slug,
        "instance": item.instance.name,
        "model": item.model,
        "name": item.served_name,
        "ctx": item.ctx,
        "residency": item.residency,
        "state": item.state,
        "reason": item.reason or None,
        "verdict": item.verdict or None,
        "verdict_text": item.verdict_text or None,
        "planned_bytes": item.bytes,
        "observed_bytes": item.observed,
        "checked_at": item.checked_at.isoformat() if item.checked_at else None,
    }
