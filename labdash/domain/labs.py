"""Make the database say what a lab's file says: nodes, deployments and schedules."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from labdash.domain import deployments, nodes
from labdash.domain.errors import LabDashError
from labdash.domain.gpus import keep_for_owner
from labdash.domain.lab_schedules import prune_schedules, store_schedules
from labdash.models import Deployment, Gpu, Instance, Node
from labdash.queries.lab_entries import InstanceEntry, LabEntries, NodeEntry, Wanted
from labdash.queries.snapshot import read_shelf
from labdash.queries.wanted import deployment_of
from labdash.wording import size
from workers import wire

# Stored of a deployment, in the words of its row.
FIELDS = (
    "model", "quant_floor", "quant_wish", "ctx_floor", "ctx_wish", "priority", "prefer",
    "residency", "offload_allowed", "replicas", "nodes", "pin", "min_tokens_per_s", "give_way",
    "parallel", "kv_types", "same_name",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Imported:
    """``changes`` and ``skipped`` are sentences. What was skipped a file cannot do."""

    changes: tuple[str, ...]
    skipped: tuple[str, ...]


def import_lab(*, entries: LabEntries, prune: bool = False, dry_run: bool = False) -> Imported:
    """Store all of a file or, where anything in it is refused, nothing.

    ``prune`` also deletes deployments, schedules and agentless nodes that the file lacks.
    ``dry_run`` only tells. Raises ``LabDashError``.
    """
    changes: list[str] = []
    with transaction.atomic():
        for entry in entries.nodes:
            changes += _node(entry)
        changes += _deployments(entries.deployments)
        changes += store_schedules(entries.schedules)
        changes += _prune(entries) if prune else ()
        nodes.publish_on_commit()
        transaction.set_rollback(dry_run)
    return Imported(changes=tuple(changes), skipped=tuple(_skipped(entries)))


def _skipped(entries: LabEntries) -> Iterator[str]:
    """Tell what a file cannot bring: machines with a worker join by themselves."""
    known = set(Node.objects.values_list("slug", flat=True))
    for entry in entries.nodes:
        if not entry.agentless and entry.name not in known:
            yield f"node {entry.name} is not here: it is known once its worker joins"


# --- nodes ---------------------------------------------------------------------------------------


def _node(entry: NodeEntry) -> Iterator[str]:
    row = Node.objects.filter(slug=entry.name).first()
    if row is None:
        if not entry.agentless:
            return
        row = _add(entry)
        yield f"node {entry.name}: added, agentless, with {len(entry.gpus)} GPUs"
        yield from _servers(entry, row)
    elif row.agentless != entry.agentless:
        kind = "agentless" if row.agentless else "no agentless node"
        raise LabDashError(f"node {entry.name} is {kind} here: its file says otherwise")
    elif row.agentless:
        yield from _agentless(entry, row)
    yield from _tags(entry, row)
    yield from _reserves(entry, row)


def _add(entry: NodeEntry) -> Node:
    return nodes.add_node(
        slug=entry.name,
        kind=entry.kind,
        urls=[each.url for each in entry.instances],
        agentless=True,
        ram_bytes=entry.ram_bytes,
        gpus=[
            wire.DeclaredGpu(
                name=gpu.name,
                memory_total_bytes=entry.gpu_share_bytes or gpu.vram_bytes or 0,
                unified=entry.gpu_share_bytes is not None,
            )
            for gpu in entry.gpus
        ],
    )


def _agentless(entry: NodeEntry, row: Node) -> Iterator[str]:
    """Bring an agentless node's servers up to date; its cards are declared in Admin."""
    urls = [each.url for each in entry.instances]
    if urls != [each.url for each in row.instances.all()]:
        nodes.set_urls(node=row, urls=urls)
        yield f"node {entry.name}: its Ollama is at {', '.join(urls) or 'no address'}"
    if entry.ram_bytes is not None and entry.ram_bytes != row.declared_ram_bytes:
        Node.objects.filter(pk=row.pk).update(declared_ram_bytes=entry.ram_bytes)
        yield f"node {entry.name}: {size(entry.ram_bytes)} of RAM"
    yield from _servers(entry, row)


def _servers(entry: NodeEntry, row: Node) -> Iterator[str]:
    pairs = zip(entry.instances, row.instances.all(), strict=False)
    for each, instance in pairs:
        yield from _declared(each, instance)


def _declared(entry: InstanceEntry, row: Instance) -> Iterator[str]:
    """Store what nobody can look up on a machine without a worker."""
    gpus = None if entry.gpus is None else list(entry.gpus)
    if (dict(entry.env), gpus) != (row.declared_settings, row.declared_gpus):
        row.declared_settings, row.declared_gpus = dict(entry.env), gpus
        row.save(update_fields=["declared_settings", "declared_gpus"])
        yield f"instance {row}: its settings and GPUs are as the file says"


def _tags(entry: NodeEntry, row: Node) -> Iterator[str]:
    if list(entry.tags) != row.tags:
        Node.objects.filter(pk=row.pk).update(tags=list(entry.tags))
        yield f"node {entry.name}: tags {', '.join(entry.tags) or 'none'}"


def _reserves(entry: NodeEntry, row: Node) -> Iterator[str]:
    cards = {gpu.index: gpu for gpu in row.gpus.all()}
    for index, said in enumerate(entry.gpus):
        card: Gpu | None = cards.get(index)
        wanted = (said.reserve_bytes, said.margin_bytes)
        if card is None:
            if wanted != (0, None):
                raise LabDashError(f"node {entry.name} has no GPU {index} to keep memory of")
        elif wanted != (card.reserve_bytes, card.margin_bytes):
            reserve, margin = wanted
            keep_for_owner(
                gpu=card, reserve_bytes=reserve, margin_bytes=margin, game_bytes=card.game_bytes
            )
            margin_text = "the engine's own margin" if margin is None else f"{size(margin)} margin"
            yield f"{entry.name}/{index}: {size(reserve)} kept for its owner, {margin_text}"


# --- deployments ---------------------------------------------------------------------------------


def _deployments(wanted: tuple[Wanted, ...]) -> Iterator[str]:
    shelf = read_shelf()
    rows = {row.name: row for row in Deployment.objects.all()}
    stored: dict[str, Deployment] = {}
    for each in wanted:
        planned = deployment_of(each, shelf)
        values = _values(each, planned.ctx_floor, planned.ctx_wish)
        stored[each.name], line = _store(each.name, rows.get(each.name), values)
        yield from line
    for each in wanted:
        # Once all names are there.
        row, apart = stored[each.name], list(each.keep_apart)
        if row.keep_apart != apart:
            deployments.change(deployment=row, keep_apart=apart)
            yield f"deployment {each.name}: kept apart from {', '.join(apart) or 'none'}"


def _store(
    name: str, row: Deployment | None, values: dict[str, Any]
) -> tuple[Deployment, list[str]]:
    try:
        if row is None:
            return deployments.create(name=name, **values), [f"deployment {name}: added"]
        changed = {key: value for key, value in values.items() if getattr(row, key) != value}
        if not changed:
            return row, []
        found = deployments.change(deployment=row, **changed)
    except LabDashError as error:
        raise LabDashError(f"deployment {name}: {error}") from error
    said = ", ".join(f"{key} {_shown(value)}" for key, value in changed.items())
    return found, [f"deployment {name}: {said}"]


def _values(wanted: Wanted, ctx_floor: int, ctx_wish: int) -> dict[str, Any]:
    said: dict[str, Any] = {field: getattr(wanted, field) for field in FIELDS}
    said |= {"ctx_floor": ctx_floor, "ctx_wish": ctx_wish, "pin": wanted.pin or ""}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def _prune(entries: LabEntries) -> Iterator[str]:
    for row in Deployment.objects.exclude(name__in=[each.name for each in entries.deployments]):
        deployments.delete(deployment=row)
        yield f"deployment {row.name}: deleted"
    yield from prune_schedules(entries.schedules)
    known = [entry.name for entry in entries.nodes]
    for node in Node.objects.filter(agentless=True).exclude(slug__in=known):
        slug = node.slug
        nodes.remove_node(node=node)
        yield f"node {slug}: removed"
