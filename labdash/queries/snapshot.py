"""The lab as it is now, for the planner: what the database wants, and what the nodes last told."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import cast

from django.conf import settings

from labdash.models import Deployment as StoredDeployment
from labdash.models import InstalledModel
from labdash.models import Instance as StoredInstance
from labdash.planner.lab import Card, Instance, Lab, Node, Prefer, Residency, Running, Yields
from labdash.planner.placing.inventory import plain
from labdash.queries.bars import LoadedView, loaded_models, view_ram
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.lab_entries import Kind, Wanted
from labdash.queries.lab_of_entries import UNSAID_RAM, system_bytes
from labdash.queries.learned import learned_overheads
from labdash.queries.library import Library
from labdash.queries.margins import build_number, env_of
from labdash.queries.memory_now import InMemory, models_on
from labdash.queries.plan_marks import left_out_of
from labdash.queries.shelf import Have, Shelf
from labdash.queries.snapshot_cards import Learned, LeftOut, cards_of
from labdash.queries.visible import seen_by
from labdash.queries.wanted import deployment_of
from labdash.wording import GIB, age
from workers import wire

_NO_LIBRARY = Library(families={}, quants={})
PAUSED = "it is paused"
NEVER = "nothing was reported of it yet"


def snapshot(
    view: LabView | None = None,
    *,
    now: datetime | None = None,
    wanted: Iterable[StoredDeployment] | None = None,
) -> Lab:
    """Return the lab, by a view that was read already or as it is ``now``.

    ``wanted`` are all deployments, where they were read already.
    """
    if view is None:
        assert now is not None  # noqa: S101 - one of both is given
        view = read_lab(now=now)
    rows = tuple(_installed_rows())
    by_instance: dict[int, list[InstalledModel]] = {}
    for row in rows:
        if not row.is_cloud:
            by_instance.setdefault(row.instance_id, []).append(row)
    learned, left_out = learned_overheads(), left_out_of(view.served)
    nodes = tuple(_node(each, by_instance, learned, left_out) for each in view.nodes)
    shelf = shelf_of_rows(rows)
    if wanted is None:
        wanted = StoredDeployment.objects.all()
    made = tuple(deployment_of(wanted_of(each), shelf) for each in wanted)
    return Lab(nodes=nodes, deployments=made)


def read_shelf() -> Shelf:
    """Return all that is installed in the lab."""
    return shelf_of_rows(_installed_rows())


def shelf_of_rows(rows: Iterable[InstalledModel]) -> Shelf:
    """Sort installed models for the choice of files."""
    local, elsewhere = [], set()
    for row in rows:
        if row.is_cloud:
            elsewhere.add(plain(row.name))
        else:
            local.append(_have(row))
    offered = _offered(settings.OFFERS) if settings.OFFERS else frozenset()
    return Shelf(tuple(dict.fromkeys(local)), offered, frozenset(elsewhere))


@cache
def _offered(path: Path) -> frozenset[str]:
    """Read the names of a registry that has few: the first of each entry."""
    return frozenset(plain(entry[0]) for entry in json.loads(path.read_text("utf-8")))


def wanted_of(row: StoredDeployment) -> Wanted:
    """Return a deployment as it would stand in a lab's file."""
    return Wanted(
        name=row.name,
        model=row.model,
        quant_floor=row.quant_floor,
        quant_wish=row.quant_wish,
        ctx_floor=row.ctx_floor,
        ctx_wish=row.ctx_wish,
        parallel=row.parallel,
        kv_types=tuple(row.kv_types),
        priority=row.priority,
        prefer=cast("Prefer", row.prefer),
        residency=cast("Residency", row.residency),
        offload_allowed=row.offload_allowed,
        replicas=row.replicas,
        nodes=tuple(row.nodes),
        pin=row.pin or None,
        keep_apart=tuple(row.keep_apart),
        min_tokens_per_s=row.min_tokens_per_s,
        give_way=cast("tuple[Yields, ...]", tuple(row.give_way)),
        same_name=row.same_name,
    )


def _installed_rows() -> Iterable[InstalledModel]:
    return InstalledModel.objects.in_use().select_related("variant__family").order_by("pk")


def _have(row: InstalledModel) -> Have:
    variant = row.variant
    return Have(
        name=row.name,
        family=variant.family.name if variant else "",
        quant=(variant.quant or None) if variant else None,
        digest=variant.blob_digest if variant else None,
        size_bytes=row.size_bytes,
        vision=variant.vision if variant else None,
    )


def _node(
    view: NodeView,
    installed: Mapping[int, Sequence[InstalledModel]],
    learned: Learned,
    left_out: LeftOut,
) -> Node:
    loaded = loaded_models(view, _NO_LIBRARY)
    cards = cards_of(view, loaded, learned, left_out)
    unified = len(cards) == 1 and _is_unified(view)
    ram, used, doubt = _ram(view, loaded, unified=unified)
    rows = [row for row in view.node.instances.all() if not _why_silent(view, row)]
    return Node(
        name=view.node.slug,
        tags=tuple(view.node.tags),
        kind=cast("Kind", view.node.kind),
        ram_bytes=ram,
        ram_used_bytes=used,
        disk_free_bytes=_disk_free(view),
        unified=unified,
        agentless=view.node.agentless,
        away=_away(view, rows),
        doubt=doubt,
        cards=cards,
        instances=tuple(_instance(view, row, cards, installed.get(row.pk, ())) for row in rows),
    )


def _is_unified(view: NodeView) -> bool:
    readings = view.sample.gpus if view.sample else ()
    return any(reading.unified for reading in readings) or (
        not readings and any(row.unified for row in view.node.gpus.all())
    )


def _away(view: NodeView, answering: Sequence[StoredInstance]) -> str:
    """Say why nothing can be planned on a node, nothing where it can."""
    if view.age_s is None or view.sample is None:
        return NEVER
    if view.liveness not in ("live", "late"):
        return f"it is silent for {age(view.age_s)}"
    if view.node.paused:
        return PAUSED
    if answering:
        return ""
    silent = filter(None, (_why_silent(view, row) for row in view.node.instances.all()))
    return next(silent, "no Ollama server is known on it")


def _why_silent(view: NodeView, row: StoredInstance) -> str:
    """Say why a server cannot be planned with, nothing where it can."""
    reading = view.reading_of(row.name)
    if reading is None or reading.state == "ok":
        return ""
    why = f": {reading.reason}" if reading.reason else ""
    return f"its Ollama ({row.name}) does not answer{why}"


def _ram(
    view: NodeView, loaded: Sequence[LoadedView], *, unified: bool
) -> tuple[int | None, int, str]:
    """Return the RAM, what others hold of it, and why that is a guess where it is one."""
    bar = view_ram(view, loaded)
    if bar is None or bar.total_bytes is None:
        total = view.node.declared_ram_bytes
        used = system_bytes(view.node.kind, total)
        return total, used, UNSAID_RAM.format(f"{used / GIB:.1f}")
    used = sum(part.size_bytes for part in bar.segments if part.kind not in ("model", "free"))
    if unified:
        # The GPU's part of a model lies in the RAM too, and is not told by name there.
        used -= sum(each.model.size_vram_bytes or 0 for each in loaded)
    return bar.total_bytes, max(0, used), ""


def _disk_free(view: NodeView) -> int | None:
    readings = view.sample.instances if view.sample else ()
    return min((each.disk.free_bytes for each in readings if each.disk), default=None)


def _instance(
    view: NodeView, row: StoredInstance, cards: Sequence[Card], installed: Iterable[InstalledModel]
) -> Instance:
    reading = view.reading_of(row.name)
    version = (reading.version if reading else None) or row.version or None
    rows = list(installed)
    # Ollama lists them in another order each time.
    running = sorted(models_on(view, row.name) or (), key=lambda model: model.name)
    return Instance(
        name=str(row),
        version=version,
        build=build_number(version),
        gpus=_gpus(view, row, reading, cards),
        env=env_of(row, reading),
        installed=tuple(each.name for each in rows),
        blobs={
            each.name: each.variant.blob_digest
            for each in rows
            if each.variant and each.variant.blob_digest
        },
        file_bytes={each.name: each.size_bytes for each in rows if each.size_bytes},
        running=tuple(_running(each) for each in running),
        url=row.url,
    )


def _gpus(
    view: NodeView,
    row: StoredInstance,
    reading: wire.InstanceReading | None,
    cards: Sequence[Card],
) -> tuple[int, ...]:
    """Return the GPUs that a server sees, as it counts them; those that are lost, none does."""
    readings = view.sample.gpus if view.sample else ()
    lost = {each.index for each in readings if each.state != "ok"}
    present = [card.index for card in cards if card.index not in lost]
    seen = seen_by(reading, readings) if reading else None
    wanted: Sequence[int] = present
    if seen is not None and seen.gpus is not None:
        wanted = seen.order
    elif row.declared_gpus is not None:
        wanted = row.declared_gpus
    return tuple(index for index in wanted if index in present)


def _running(model: InMemory) -> Running:
    held = {int(device.rpartition("/")[2]): size for device, size in (model.held or {}).items()}
    return Running(name=model.name, ctx=model.ctx, gpu_bytes=held, stays=model.stays)
