"""Print the state of the lab."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.utils import timezone

from labdash.management.base import LabDashCommand, require_lab
from labdash.models import ItemState, PlanItem, PullJob, Verdict
from labdash.queries.bars import GpuView
from labdash.queries.gpu_rules import without_gpu
from labdash.queries.lab import NodeView
from labdash.queries.plan_in_force import is_on_call
from labdash.queries.pulls import silence_s
from labdash.queries.status import StatusView, as_json, gpus_of, read_status_view
from labdash.queries.upkeep_rows import Upkeep
from labdash.wording import lasted, size, speed
from workers import wire

_BROKEN = {"lost": "lost", "error": "cannot be read"}
_MARK = {"bad": "!!", "attention": "! ", "info": "- "}


class Command(LabDashCommand):
    """Nodes, GPUs, loaded models, pulls and problems, for people or as JSON."""

    help = "Print nodes, GPUs, what is loaded where, pulls and open problems."

    def handle(self, *_args: Any, **options: Any) -> None:
        """Read once and print."""
        require_lab()
        view = read_status_view(now=timezone.now())
        if options["json"]:
            self.print_json(as_json(view))
        else:
            self.stdout.write("\n".join(map(_plain, _lines(view))))


def _plain(line: str) -> str:
    """Blank out what would steer a terminal: nodes name models, cards and reasons themselves."""
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _lines(view: StatusView) -> Iterator[str]:
    for node in view.lab.nodes:
        yield from _node(node)
    if view.jobs:
        yield "Pulls"
        yield from (_job(job, view.lab.now) for job in view.jobs)
    if view.lab.upkeep is not None:
        yield from _plan(view.lab.upkeep)
    yield "Problems" if view.problems else "No problems."
    for problem in view.problems:
        yield f"  {_MARK[problem.severity]} {problem.text}"
        yield f"     {problem.next_step}"


def _node(view: NodeView) -> Iterator[str]:
    paused = ", paused" if view.node.paused else ""
    if view.age_s is None:
        yield f"{view.node.slug}: never reported{paused}"
        return
    yield f"{view.node.slug}: {view.liveness}, {lasted(view.age_s)} ago{paused}"
    yield from (_gpu(gpu) for gpu in gpus_of(view))
    if no_gpu := without_gpu(view):
        yield f"  {no_gpu.text} {no_gpu.next_step}"
    for reading in view.sample.instances if view.sample else ():
        state = reading.version or reading.reason or reading.state
        yield f"  {reading.name} {state} at {reading.url}"
        yield from (_loaded(model) for model in reading.loaded or ())


def _gpu(seen: GpuView) -> str:
    gpu, bar = seen.reading, seen.bar
    memory = f"{_size(bar.used_bytes)} of {_size(bar.total_bytes)}"
    facts = [memory, *_measured(gpu)] if gpu.state == "ok" else [_BROKEN[gpu.state]]
    if seen.basis == "ollama":
        facts.append("as Ollama reports, not measured")
    return f"  GPU {gpu.index} {gpu.name or 'unknown'}: {', '.join(facts)}"


def _measured(gpu: wire.GpuReading) -> Iterator[str]:
    for value, unit in (
        (gpu.utilization_percent, "%"),
        (gpu.temperature_celsius, " °C"),
        (gpu.power_watts, " W"),
    ):
        if value is not None:
            yield f"{value:.0f}{unit}"


def _loaded(model: wire.LoadedModel) -> str:
    context = f", context {model.context_length}" if model.context_length else ""
    return f"    {model.name}: {size(model.size_bytes)}{_where(model)}{context}"


def _where(model: wire.LoadedModel) -> str:
    if model.size_vram_bytes is None:
        return ""
    on_cpu_bytes = model.size_bytes - model.size_vram_bytes
    return " on " + (
        "GPU" if on_cpu_bytes <= 0 else "GPU and CPU" if model.size_vram_bytes > 0 else "CPU"
    )


def _job(job: PullJob, now: datetime) -> str:
    done = ""
    if job.done_bytes is not None:
        done = f" {_size(job.done_bytes)} of {_size(job.total_bytes)}"
    pace = f", {speed(job.bytes_per_s)}" if job.bytes_per_s else ""
    if (silent_s := silence_s(job, now)) is not None:
        pace = f", no word for {silent_s:.0f} s"
    reason = f": {job.reason}" if job.reason else ""
    state = "cancelling" if job.is_active and job.cancel_requested else job.state
    return f"  {job.pk} {job}: {state}{done}{pace}{reason}"


def _plan(upkeep: Upkeep) -> Iterator[str]:
    plan = upkeep.plan
    why = f" ({plan.why})" if plan.why else ""
    yield f"Plan {plan.pk}, {plan.get_state_display()}{why}"
    for item in upkeep.served:
        seen, told = _seen(item)
        yield f"  {item.deployment_name} on {item.instance}: {seen}{f'. {told}' if told else ''}"


def _seen(item: PlanItem) -> tuple[str, str]:
    """Return what is seen of a part of a plan, and what is to be said of it."""
    if is_on_call(item):
        return "loads when asked", ""
    if item.state != ItemState.READY or not item.verdict:
        return item.get_state_display(), item.reason
    told = "" if item.verdict == Verdict.AS_PLANNED else item.verdict_text
    return item.get_verdict_display(), told


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else size(size_bytes)
