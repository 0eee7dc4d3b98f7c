"""What is wrong in the lab: one list of rules, for the overview, for ``status``, for alerts."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from labdash.queries import (
    gpu_rules,
    ollama_rules,
    plan_rules,
    schedule_rules,
    storage_rules,
    update_rules,
)
from labdash.queries.lab import LabView, NodeView
from labdash.queries.problem_view import ProblemView, about
from labdash.wording import lasted
from workers import wire

__all__ = ["ProblemView", "find_problems"]

# Home machines drift by fractions of a second; more than this confuses certificates and logs.
CLOCK_OFF_S = 5.0
_ORDER = {"bad": 0, "attention": 1, "info": 2}


def find_problems(lab: LabView) -> tuple[ProblemView, ...]:
    """Return what is wrong, the worst first. Pure: ``since`` is what the lab view recorded."""
    found = [
        *_hub(lab),
        *schedule_rules.find(lab),
        *update_rules.find(lab),
        *(problem for view in lab.nodes for problem in _node(view, lab)),
    ]
    dated = [replace(each, since=each.since or lab.since.get(each.key)) for each in found]
    return tuple(sorted(dated, key=lambda each: (_ORDER[each.severity], each.node)))


def _hub(lab: LabView) -> Iterator[ProblemView]:
    if not lab.store_ok:
        yield ProblemView(
            code="store_down",
            severity="bad",
            text="The store does not answer: what you see is the last known state.",
            next_step="See what deploy/up says in its terminal: it restarts its own store.",
        )
    elif not lab.intake_ok and lab.database_error:
        yield ProblemView(
            code="database_down",
            severity="bad",
            text=f"The database takes nothing: {lab.database_error}.",
            next_step="Make room on the hub's disk if it is full, or see that PostgreSQL runs.",
        )
    elif not lab.intake_ok:
        yield ProblemView(
            code="hub_worker_down",
            severity="bad",
            text="The hub worker reads no reports: what you see is the last known state.",
            next_step="See what deploy/up says in its terminal: it restarts the worker.",
        )
    elif not lab.beat_ok:
        yield ProblemView(
            code="nothing_scheduled",
            severity="bad",
            text="Nothing is scheduled: pulls do not go on, and problems are not dated.",
            next_step="See what deploy/up says in its terminal, and its scheduler.log.",
        )
    if lab.cache_trouble:
        yield ProblemView(
            code="cache_closed",
            text=f"The hub's cache of models serves nobody: {lab.cache_trouble}.",
            next_step="On Pulls, under Cache, stands what to do; or turn it off there.",
            page="pull_cache",
        )
    if not lab.nodes:
        yield ProblemView(
            code="no_node",
            severity="info",
            text="There is no node yet.",
            next_step="Add a machine that runs Ollama: on Nodes, or in Admin.",
        )


def _node(view: NodeView, lab: LabView) -> Iterator[ProblemView]:
    """Yield what is wrong with a node; of one that is silent nothing else is known to be true."""
    if view.other_protocol is not None:
        yield _other_protocol(view, view.other_protocol)
    elif view.liveness in {"silent", "never"}:
        # Without store or intake nobody reports, which is said once for all.
        if lab.store_ok and lab.intake_ok:
            yield _silent(view, lab)
    elif view.sample is not None:
        yield from _rival(view, view.sample)
        yield from _clock(view)
        yield from gpu_rules.find(view, view.sample)
        yield from ollama_rules.find(view, view.sample, on_cpu=plan_rules.on_cpu(view, lab))
        yield from _no_model(view, view.sample, lab)
        yield from _failed_loads(view, lab)
        yield from plan_rules.find(view, lab)
        yield from storage_rules.find(view, view.sample, lab)


def _other_protocol(view: NodeView, protocol: int) -> ProblemView:
    older = "older" if protocol < wire.PROTOCOL_VERSION else "newer"
    text = (
        f"The node worker of {view.node.slug} is {older} than this hub: it speaks version"
        f" {protocol} of their protocol, the hub version {wire.PROTOCOL_VERSION}."
    )
    step = (
        f"Update LabDash on {view.node.slug}: run a new line there, from Join line on its page."
        if older == "older"
        else "Update LabDash on the hub: fetch its newest version and start it again."
    )
    return about(view, "protocol", text, step, severity="bad")


def _silent(view: NodeView, lab: LabView) -> ProblemView:
    slug = view.node.slug
    if view.age_s is None:
        text = f"{slug} has never reported."
        step = (
            "Its worker runs on the hub: see what deploy/up says in its terminal."
            if view.node.agentless or view.node.started_with
            else f"Run its line on {slug}: the node's page shows one under Join line."
        )
        return about(view, "node_never_seen", text, step, severity="attention")
    text = f"{slug} has not reported for {lasted(view.age_s)}: it is asleep, off, or cut off."
    step = f"Wake {slug}. If it is awake, see whether labdash-node runs there and reaches the hub."
    silent = about(view, "node_silent", text, step, severity="bad")
    return replace(silent, since=lab.now - timedelta(seconds=view.age_s))


def _rival(view: NodeView, sample: wire.Sample) -> Iterator[ProblemView]:
    if view.rival is None:
        return
    slug, here = view.node.slug, sample.host.hostname
    where = (
        f"both on {here}" if here == view.rival else f"on {here or 'a machine'} and {view.rival}"
    )
    text = f"Two workers report as {slug}, {where}: each hides what the other sees."
    step = "End one of them, or add its machine under a name of its own."
    yield about(view, "two_workers", text, step, severity="bad")


def _clock(view: NodeView) -> Iterator[ProblemView]:
    offset_s = view.node.clock_offset_s
    if offset_s is None or abs(offset_s) <= CLOCK_OFF_S:
        return
    way = "ahead of" if offset_s > 0 else "behind"
    text = f"The clock of {view.node.slug} is {lasted(round(abs(offset_s)))} {way} the hub's."
    yield about(view, "clock", text, "Turn on time synchronisation: timedatectl set-ntp true")


def _failed_loads(view: NodeView, lab: LabView) -> Iterator[ProblemView]:
    for job in lab.failed_loads:
        if job.instance.node_id == view.node.pk:
            text = f"{job.model} could not be loaded on {view.node.slug}."
            step = job.meaning or "See Recent loads on the node's page."
            subject = f"{job.instance.name} {job.model}"
            failed = about(view, "load_failed", text, step, subject=subject)
            yield replace(failed, since=job.finished_at)


def _no_model(view: NodeView, sample: wire.Sample, lab: LabView) -> Iterator[ProblemView]:
    """Hint at the first pull where Ollama answers, has told what it holds, and holds nothing."""
    for instance in view.node.instances.all():
        answers = any(
            reading.name == instance.name and reading.state == "ok" for reading in sample.instances
        )
        if answers and instance.inventory_at and instance.pk not in lab.with_models:
            text = f"There is no model on {instance} yet."
            step = "Pull one: on Pulls, write a name such as qwen3:8b."
            yield about(view, "no_model", text, step, severity="info", subject=instance.name)
