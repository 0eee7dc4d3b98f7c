"""The lab as it would stand in its file: what stays, and where asked for what holds right now."""

from collections.abc import Iterable, Mapping
from typing import cast

from labdash.models import Deployment as StoredDeployment
from labdash.models import Gpu, PullSchedule
from labdash.models import Instance as StoredInstance
from labdash.planner.lab import Card, Instance, Lab, Node
from labdash.queries.lab import LabView, NodeView
from labdash.queries.lab_entries import (
    GpuEntry,
    InstanceEntry,
    Kind,
    LabEntries,
    LoadedEntry,
    NodeEntry,
)
from labdash.queries.lab_schedules import ScheduleEntry
from labdash.queries.snapshot import snapshot, wanted_of


def read_entries(view: LabView, *, present: bool) -> LabEntries:
    """Return nodes and deployments. ``present``: also what is used, installed and in memory."""
    lab = snapshot(view)
    nodes = zip(view.nodes, lab.nodes, strict=True)
    return LabEntries(
        nodes=tuple(_node(each, node, lab, present=present) for each, node in nodes),
        deployments=tuple(map(wanted_of, StoredDeployment.objects.all())),
        schedules=tuple(map(_schedule, PullSchedule.objects.all())),
    )


def _schedule(row: PullSchedule) -> ScheduleEntry:
    return ScheduleEntry(
        name=row.name,
        what=row.what,
        models=tuple(row.model_names),
        nodes=tuple(row.nodes),
        cron=row.cron,
        until=row.until,
        zone=row.zone,
        at_once=row.at_once,
        updates=row.updates,
        catch_up=row.catch_up,
        priority=row.priority,
        paused=row.paused,
    )


def _node(view: NodeView, node: Node, lab: Lab, *, present: bool) -> NodeEntry:
    rows = {row.index: row for row in view.node.gpus.all()}
    instances = view.node.instances.all()
    return NodeEntry(
        name=node.name,
        tags=node.tags,
        kind=cast("Kind", view.node.kind),
        ram_bytes=node.ram_bytes,
        ram_used_bytes=node.ram_used_bytes if present and not node.doubt else None,
        ram_gbs=node.ram_gbs,
        disk_free_bytes=node.disk_free_bytes if present else None,
        asleep=present and bool(node.away),
        agentless=node.agentless,
        gpu_share_bytes=node.cards[0].total_bytes if node.unified else None,
        gpus=tuple(_gpu(card, rows, present=present) for card in node.cards),
        instances=tuple(_instance(row, lab, node, present=present) for row in instances),
    )


def _gpu(card: Card, rows: Mapping[int, Gpu], *, present: bool) -> GpuEntry:
    row = rows.get(card.index)
    return GpuEntry(
        name=card.name,
        vram_bytes=card.total_bytes or None,
        used_bytes=card.used_bytes if present and not card.doubt else None,
        reserve_bytes=row.reserve_bytes if row else 0,
        margin_bytes=row.margin_bytes if row else None,
    )


def _instance(row: StoredInstance, lab: Lab, node: Node, *, present: bool) -> InstanceEntry:
    known = lab.homes.get(str(row))
    seen = known[1] if known else None
    # Of a server that does not answer now, what its owner declared.
    gpus = seen.gpus if seen else row.declared_gpus
    return InstanceEntry(
        name=str(row),
        url=row.url,
        ollama=(seen.version if seen else row.version) or None,
        gpus=None if gpus is None else _positions(gpus, node),
        env=seen.env if seen else row.declared_settings,
        installed=seen.installed if seen and present else (),
        loaded=_loaded(seen) if seen and present else (),
    )


def _positions(gpus: Iterable[int], node: Node) -> tuple[int, ...]:
    """Count GPUs as the file does: in the order in which it lists them."""
    places = {card.index: place for place, card in enumerate(node.cards)}
    return tuple(places[index] for index in gpus if index in places)


def _loaded(seen: Instance) -> tuple[LoadedEntry, ...]:
    return tuple(
        LoadedEntry(
            model=each.name,
            ctx=each.ctx,
            gpu_bytes=tuple(each.gpu_bytes.get(gpu, 0) for gpu in seen.gpus)
            if each.gpu_bytes
            else (),
            stays=each.stays,
        )
        for each in seen.running
    )
