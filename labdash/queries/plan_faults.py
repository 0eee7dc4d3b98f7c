"""Known faults of Ollama that explain why a planned model is not as it should be."""

from datetime import datetime

from labdash.models import Instance, PlanItem
from labdash.planner import faults
from labdash.planner.errors import PlannerError
from labdash.planner.faults import Fault, find_faults
from labdash.planner.ollama import parse_version
from labdash.queries.gpu_rules import readings_of
from labdash.queries.lab import NodeView
from labdash.queries.library import plain_name
from labdash.queries.memory_now import InMemory, devices_of, models_on
from labdash.queries.upkeep import mends_of
from labdash.queries.upkeep_rows import Upkeep


def fault_of(view: NodeView, upkeep: Upkeep, item: PlanItem, *, now: datetime) -> Fault | None:
    """Return the first known fault that concerns a model of the plan."""
    sample = view.sample
    if sample is None:
        return None
    found = find_faults(_facts(view, upkeep, item.instance, now=now))
    name = plain_name(item.served_name).lower()
    concerns = (
        each
        for each in found
        if not each.models or name in {plain_name(model).lower() for model in each.models}
    )
    return next(concerns, None)


def _facts(view: NodeView, upkeep: Upkeep, server: Instance, *, now: datetime) -> faults.Facts:
    sample = view.sample
    readings = readings_of(sample) if sample else ()
    models = models_on(view, server.name) or ()
    items = {
        plain_name(item.served_name).lower(): item
        for item in upkeep.served
        if item.instance_id == server.pk
    }
    names = {plain_name(each.name).lower() for each in models}
    return faults.Facts(
        node=view.node.slug,
        instance=server.name,
        version=_version(server.version),
        gpus=tuple(
            faults.Gpu(
                index=gpu.index,
                total_bytes=gpu.memory_total_bytes or 0,
                free_bytes=gpu.memory_free_bytes,
                is_lost=gpu.state == "lost",
            )
            for gpu in readings
        ),
        driver_works=sample is not None and sample.driver.state in {"ok", "none"},
        loads=(
            *(_load(each, items.get(plain_name(each.name).lower()), now) for each in models),
            *(_gone(item, now) for name, item in items.items() if name not in names),
        ),
    )


def _gone(item: PlanItem, now: datetime) -> faults.Load:
    return faults.Load(name=item.served_name, reloads=mends_of(item, now=now))


def _load(model: InMemory, item: PlanItem | None, now: datetime) -> faults.Load:
    held = None
    if model.held is not None:
        held = {_index(device): size for device, size in model.held.items()}
    return faults.Load(
        name=model.name,
        size_bytes=model.size_bytes,
        size_vram_bytes=model.size_vram_bytes,
        gpu_bytes=held,
        ctx=model.ctx,
        planned_gpus=frozenset(map(_index, devices_of(item.bytes))) if item else None,
        planned_ctx=item.ctx if item else None,
        reloads=mends_of(item, now=now) if item else 0,
    )


def _index(device: str) -> int:
    return int(device.rpartition("/")[2])


def _version(text: str) -> tuple[int, ...]:
    try:
        return parse_version(text)
    except PlannerError:
        return ()
