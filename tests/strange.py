"""Reports with values that no hardware, no Ollama and no worker of ours would send."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils import timezone
from pydantic import ValidationError

from labdash.models import ItemState, LoadJob, NameJob, Plan, PlanItem, PullJob
from tests.factories import WHEN, gpu, installed, inventory, loaded, ollama, progress, sample
from tests.plan_rows import make_item
from workers import wire

# JSON as a node may write it, which Python need not be able to make.
VALUES = {
    "NUL": '"a\\u0000b"',
    "control characters": '"\\u001b[31m\\r\\n\\u2028\\u202e\\u0085"',
    "a long text": json.dumps("x" * 100_000),
    "a long word of wide letters": json.dumps("\N{GRINNING FACE}" * 600),
    "an empty text": '""',
    "half a pair": '"\\ud800"',
    "a template": '"{why}{{ x }}%s"',
    "below 0": "-1",
    "over 15 bits": str(2**15),
    "over 31 bits": str(2**31),
    "the last of 63 bits": str(2**63 - 1),
    "over 63 bits": str(2**63),
    "over any float": str(10**400),
    "under any float": str(-(10**400)),
    "a great float": "1e308",
    "infinity by its exponent": "1e400",
    "infinity": "Infinity",
    "no number": "NaN",
    "true": "true",
    "null": "null",
    "a list": "[]",
    "an object": "{}",
    "the first year": '"0001-01-01T00:00:00+14:00"',
    "the last year": '"9999-12-31T23:59:59-14:00"',
    "no zone": '"2026-11-25T20:00:00"',
}


def full_reports(job: PullJob) -> list[wire.Report]:
    """Return a report of each kind by ``rog`` in which everything is told."""
    process = wire.GpuProcess(
        pid=7,
        name="python",
        used_bytes=1,
        model="qwen3:8b",
        instance="ollama",
        is_orphan=True,
        context_tokens=1,
        slots=1,
    )
    settings = (wire.Setting(name="CUDA_VISIBLE_DEVICES", value="0"),)
    card = gpu(
        pci_id="0000:01:00.0",
        reason="why",
        memory_reserved_bytes=1,
        utilization_percent=1,
        temperature_celsius=1,
        power_watts=1.0,
        power_limit_watts=1.0,
        clock_graphics_mhz=1,
        clock_memory_mhz=1,
        throttle_reasons=("hot",),
        processes=(process,),
    )
    model = loaded("qwen3:8b").model_copy(update={"context_length": 1, "expires_at": WHEN})
    host = wire.HostReading(
        hostname="rog", system="linux", ram_total_bytes=2, ram_used_bytes=1, cpu_percent=1.0
    )
    return [
        sample(
            driver=wire.DriverReading(state="error", version="1", reason="why", cards_seen=1),
            gpus=(card, gpu(1, state="lost", reason="gone")),
            host=host,
            worker_id="w1",
            instances=(
                ollama(reason="why", listens="network", loaded=(model,), settings=settings),
                ollama(name="b", state="error"),
            ),
        ),
        inventory(
            installed(
                parameter_size="8B",
                parameter_count=1,
                context_length=1,
                block_count=1,
                parent_model="qwen3",
                capabilities=("tools",),
                layers=(wire.Layer(digest="a" * 64, size_bytes=1, kind="model"),),
            ),
            installed("other:1b"),
            shelf=wire.ShelfReading(
                path="/models",
                partials=(wire.Partial(digest="b" * 64, size_bytes=1, age_s=1.0),),
                partial_bytes=1,
                orphans=1,
                orphan_bytes=1,
                may_delete=True,
                note="why",
            ),
        ),
        progress(
            job,
            done_bytes=1,
            total_bytes=2,
            bytes_per_s=1.0,
            remaining_s=1.0,
            reason="why",
            sent_at=timezone.now(),
        ),
        _load_report(job),
        _apply_report(job),
        *_name_reports(job),
    ]


def _apply_report(job: PullJob) -> wire.ApplyProgress:
    """Return what is told of a name on the server of a pull."""
    item = PlanItem(pk=1)
    if job.instance.pk is not None:
        plan = Plan.objects.get_or_create()[0]
        PlanItem.objects.filter(plan=plan).delete()
        item = make_item(plan, job.instance, state=ItemState.CREATING, sent_at=timezone.now())
    return wire.ApplyProgress(
        node="rog",
        sent_at=timezone.now(),
        job_id=item.pk,
        step="create",
        phase="failed",
        reason="why",
        meaning="why",
    )


def _name_reports(job: PullJob) -> tuple[wire.Report, wire.Report]:
    """Return what is told of an order about a name, and of a clearing."""
    names: list[int] = []
    for act in ("delete", "clear"):
        row = NameJob(pk=1)
        if job.instance.pk is not None:
            row = NameJob.objects.get_or_create(instance=job.instance, act=act, model=act)[0]
        names.append(row.pk)
    said: dict[str, Any] = {
        "node": "rog",
        "sent_at": timezone.now(),
        "phase": "failed",
        "reason": "why",
        "meaning": "why",
    }
    return (
        wire.NameProgress(job_id=names[0], act="delete", digest="c" * 64, **said),
        wire.ClearProgress(job_id=names[1], freed_bytes=1, **said),
    )


def _load_report(job: PullJob) -> wire.LoadProgress:
    """Return what is told of a load on the server of a pull."""
    load = LoadJob(pk=1)
    if job.instance.pk is not None:
        wanted: dict[str, Any] = {"instance": job.instance, "model": "qwen3:8b", "wish": "load"}
        load = LoadJob.objects.get_or_create(**wanted)[0]
    place = wire.TryPlace(
        size_bytes=2,
        size_vram_bytes=1,
        context_length=1,
        gpus=(wire.TryGpu(index=0, name="RTX 3090", used_bytes=1),),
    )
    return wire.LoadProgress(
        node="rog",
        sent_at=timezone.now(),
        job_id=load.pk,
        phase="failed",
        reason="why",
        meaning="why",
        log=("a line",),
        log_note="why",
        place=place,
        expires_at=WHEN,
    )


def with_value(report: wire.Report, path: tuple[str | int, ...], value: str) -> str:
    """Return the report as JSON with the value at the place of one leaf."""
    fields = json.loads(report.model_dump_json())
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "\x00here"
    return json.dumps(fields).replace(json.dumps("\x00here"), value)


def leaves(report: wire.Report) -> list[tuple[str | int, ...]]:
    """Return where the leaves of a report are."""
    return list(_leaves(report.model_dump(mode="json"), ()))


def strangest(report: wire.Report, value: str) -> wire.Report:
    """Return the report with the value in each leaf where it does not cost the entry.

    What tells of what it speaks stays.
    """
    paths = leaves(report)
    most = len(paths)
    for path in paths:
        if path[-1] in {"node", "instance", "job_id", "attempt", "uuid"}:
            continue
        try:
            changed = wire.report_adapter.validate_json(with_value(report, path, value))
        except ValidationError:
            continue
        if (count := len(leaves(changed))) >= most:
            report, most = changed, count
    return report


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list | tuple) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path
