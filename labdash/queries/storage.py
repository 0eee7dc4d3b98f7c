"""What lies on the disks of the lab: what each name takes, what deleting it frees, what is left."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from labdash.models import InstalledModel, Instance, Manifest, NameJob, PullSettings, UnusedRule
from labdash.planner.placing.inventory import bare_digest
from labdash.planner.storing import (
    Group,
    Kept,
    enough,
    freed_by_each,
    freed_bytes,
    unique_bytes,
    unused,
)
from labdash.queries.lab import LabView, NodeView
from labdash.queries.library import Library, plain_name, read_library
from labdash.queries.needs import IN_MEMORY, Need, read_needs
from labdash.queries.pausing import keeps_unfinished
from labdash.queries.room import files_of, keep_free_bytes, shelf_of
from labdash.wording import DAY_S, age
from workers import wire

# What was used within a day is not deleted for want of room either.
LEAST_IDLE_S = DAY_S
MOST_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class Row:
    """A name. ``frees_bytes`` is what deleting it alone frees; at most so where not ``is_exact``.

    ``needs`` stands against that. ``also_on`` are nodes that have the same weights.
    """

    installed: InstalledModel
    name: str
    colour: int
    frees_bytes: int
    is_exact: bool
    used: str
    needs: tuple[Need, ...]
    also_on: tuple[str, ...]
    shares_with: tuple[str, ...]
    order: NameJob | None = None

    @property
    def bound(self) -> str:
        """Say why it is not deleted by hand either, nothing where it may be."""
        return next((need.text for need in self.needs if need.binds), "")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Names that may go. ``key`` is the key of one of them; ``why`` is put in words.

    ``is_old``: unused for as long as the rule says; else it only makes room.
    """

    key: int
    is_old: bool
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    frees_bytes: int
    is_exact: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server's store. ``unread`` says why files of it cannot be told, nothing where they can.

    ``others_bytes`` is what else lies on the disk, ``None`` where that is not known;
    ``unneeded_bytes`` is what deleting all names that nothing needs would free.
    """

    instance: Instance
    view: NodeView
    disk: wire.DiskReading | None
    keep_bytes: int
    rows: tuple[Row, ...]
    unique_bytes: int
    is_exact: bool
    shelf: wire.ShelfReading | None
    unread: str
    proposals: tuple[Proposal, ...]
    unneeded_bytes: int = 0

    @property
    def keeps_remains(self) -> bool:
        """Whether its Ollama deletes neither remains nor left-over files when it starts."""
        return bool(keeps_unfinished(self.instance, self.view.reading_of(self.instance.name)))

    @property
    def shown(self) -> tuple[Row, ...]:
        """Return the largest names: a page of thousands would be of no use."""
        return self.rows[:MOST_SHOWN]

    @property
    def title(self) -> str:
        """Name it as short as can be."""
        slug = self.instance.node.slug
        return slug if self.instance.name == "ollama" else f"{slug} / {self.instance.name}"

    @property
    def partial_bytes(self) -> int | None:
        """Tell what unfinished downloads take, ``None`` where nobody can look."""
        return self.shelf.partial_bytes if self.shelf else None

    @property
    def orphan_bytes(self) -> int | None:
        """Tell what finished files take that no name needs."""
        return self.shelf.orphan_bytes if self.shelf else None

    @property
    def others_bytes(self) -> int | None:
        """Tell what else lies on the disk."""
        if self.disk is None:
            return None
        ours = self.unique_bytes + (self.partial_bytes or 0) + (self.orphan_bytes or 0)
        return max(0, self.disk.total_bytes - self.disk.free_bytes - ours)

    @property
    def is_short(self) -> bool:
        """Whether less is free than shall be."""
        return self.disk is not None and self.disk.free_bytes < self.keep_bytes


type TwinKey = tuple[str, str, datetime]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is read once for all servers. ``twins`` are rows of one file in one store."""

    now: datetime
    settings: PullSettings
    library: Library
    needs: Mapping[int, tuple[Need, ...]]
    layers: Mapping[tuple[int, str], object]
    orders: Mapping[tuple[int, str], NameJob]
    twins: Mapping[TwinKey, Sequence[InstalledModel]]
    where: Mapping[str, tuple[str, ...]]


def read_servers(lab: LabView, *, settings: PullSettings) -> tuple[Server, ...]:
    """Return the stores of all servers of a lab."""
    rows = list(
        InstalledModel.objects.filter(is_cloud=False)
        .select_related("variant", "instance__node")
        .defer("instance__node__last_sample", "instance__shelf")
    )
    active = NameJob.objects.active().exclude(model="")
    needs, twins = read_needs(rows, lab), _twins(rows)
    known = _Known(
        now=lab.now,
        settings=settings,
        library=read_library(),
        needs={row.pk: _all_needs(twins[twin_key(row)], needs) for row in rows},
        twins=twins,
        layers=_read_layers(),
        orders={(job.instance_id, job.model): job for job in active},
        where=_where(rows),
    )
    shelves: defaultdict[int, list[InstalledModel]] = defaultdict(list)
    for row in rows:
        shelves[row.instance_id].append(row)
    return tuple(
        _server(view, instance, shelves[instance.pk], known)
        for view in lab.nodes
        for instance in view.node.instances.all()
    )


def idle_s(row: InstalledModel, *, now: datetime) -> float:
    """Tell how long a name was not seen in memory: at most since it was pulled or first seen."""
    moments = [row.modified_at, row.first_seen_at, row.last_used_at]
    latest = max(moment for moment in moments if moment is not None)
    return max(0.0, (now - latest).total_seconds())


def weights_of(row: InstalledModel) -> str:
    """Return what tells the weights of a name, else its own manifest."""
    blob = row.variant.blob_digest if row.variant else None
    return bare_digest(blob) if blob else row.digest


def _read_layers() -> dict[tuple[int, str], object]:
    """Return the files of all manifests by server and digest."""
    rows = Manifest.objects.values_list("instance_id", "digest", "layers")
    return {(key, digest): layers for key, digest, layers in rows}


def _kept(row: InstalledModel, known: _Known) -> Kept:
    """Tell what a name keeps; where nobody can read its manifest, one file stands for all."""
    weights = weights_of(row)
    files = files_of(known.layers.get((row.instance_id, row.digest)))
    return Kept(
        name=row.name,
        files=files or {weights: row.size_bytes},
        is_exact=bool(files),
        weights=weights,
        idle_s=min(idle_s(each, now=known.now) for each in known.twins[twin_key(row)]),
        needs=tuple(need.text for need in known.needs.get(row.pk, ())),
    )


def twin_key(row: InstalledModel) -> TwinKey:
    """Return what two servers of one store list alike: a copy elsewhere has a date of its own."""
    return (row.name, row.digest, row.modified_at)


def _twins(rows: Iterable[InstalledModel]) -> Mapping[TwinKey, Sequence[InstalledModel]]:
    found: defaultdict[TwinKey, list[InstalledModel]] = defaultdict(list)
    for row in rows:
        found[twin_key(row)].append(row)
    return found


def _all_needs(
    rows: Iterable[InstalledModel], needs: Mapping[int, tuple[Need, ...]]
) -> tuple[Need, ...]:
    """Unite what needs a file under any of its servers."""
    return tuple(dict.fromkeys(need for row in rows for need in needs.get(row.pk, ())))


def _where(rows: Iterable[InstalledModel]) -> Mapping[str, tuple[str, ...]]:
    """Return the nodes that have each file of weights."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        found[weights_of(row)].add(row.instance.node.slug)
    return {weights: tuple(sorted(slugs)) for weights, slugs in found.items()}


def _server(
    view: NodeView, instance: Instance, installed: Iterable[InstalledModel], known: _Known
) -> Server:
    pairs = [(row, _kept(row, known)) for row in installed]
    shelf = [kept for _, kept in pairs]
    frees = freed_by_each(shelf)
    rows = tuple(_row(row, kept, shelf, frees[kept.name], known) for row, kept in pairs)
    reading = view.reading_of(instance.name)
    disk = reading.disk if reading else None
    keep = keep_free_bytes(instance.node, known.settings)
    told = shelf_of(instance)
    return Server(
        instance=instance,
        view=view,
        disk=disk,
        keep_bytes=keep,
        rows=tuple(sorted(rows, key=lambda row: (-row.installed.size_bytes, row.name))),
        unique_bytes=unique_bytes(shelf),
        is_exact=all(each.is_exact for each in shelf),
        shelf=told,
        unread=_why_unread(view, reading, told),
        unneeded_bytes=freed_bytes(shelf, {kept.name for kept in shelf if not kept.needs}),
        proposals=tuple(
            _proposals(shelf, rows, known.settings, keep - disk.free_bytes if disk else 0)
        ),
    )


def _row(row: InstalledModel, kept: Kept, shelf: Iterable[Kept], frees: int, known: _Known) -> Row:
    name = plain_name(row.name)
    beside = [each.name for each in shelf if each.weights == kept.weights and each is not kept]
    needs = known.needs.get(row.pk, ())
    return Row(
        installed=row,
        name=name,
        colour=known.library.colour(name),
        frees_bytes=frees,
        is_exact=kept.is_exact,
        used="in memory" if IN_MEMORY in needs else _used(row, kept, known.now),
        needs=needs,
        also_on=tuple(slug for slug in known.where[kept.weights] if slug != row.instance.node.slug),
        shares_with=tuple(sorted(map(plain_name, beside))),
        order=known.orders.get((row.instance_id, row.name)),
    )


def _used(row: InstalledModel, kept: Kept, now: datetime) -> str:
    if row.last_used_at is not None:
        return f"{age((now - row.last_used_at).total_seconds())} ago"
    return f"not in {age(kept.idle_s)}" if kept.idle_s >= DAY_S else "not yet"


def _proposals(
    shelf: Sequence[Kept], rows: Iterable[Row], settings: PullSettings, short_bytes: int
) -> Iterable[Proposal]:
    """Propose what was unused for long, and, where room is short, what was unused for longest."""
    by_name = {row.installed.name: row for row in rows}
    after_s = max(LEAST_IDLE_S, settings.unused_after_days * DAY_S)
    old = () if settings.unused == UnusedRule.NEVER else unused(shelf, after_s=after_s)
    for group in old:
        yield _proposal(group, by_name, f"not used for {age(group.idle_s)}", is_old=True)
    short_bytes -= sum(group.frees_bytes for group in old)
    known = {group.names for group in old}
    idle = [each for each in unused(shelf, after_s=LEAST_IDLE_S) if each.names not in known]
    for group in enough(idle, short_bytes):
        why = f"makes room, and was not used for {age(group.idle_s)}"
        yield _proposal(group, by_name, why, is_old=False)


def _proposal(group: Group, by_name: Mapping[str, Row], why: str, *, is_old: bool) -> Proposal:
    rows = tuple(by_name[name] for name in group.names)
    return Proposal(
        key=rows[0].installed.pk,
        is_old=is_old,
        names=tuple(row.name for row in rows),
        rows=rows,
        frees_bytes=group.frees_bytes,
        is_exact=group.is_exact,
        why=why,
    )


def _why_unread(
    view: NodeView, reading: wire.InstanceReading | None, told: wire.ShelfReading | None
) -> str:
    if told is not None:
        return told.note or ""
    if view.node.agentless:
        return "no worker runs on this machine, so its files are not to be seen"
    if reading is not None and reading.home == "container":
        return "it runs in a container, so its files are not to be seen"
    if view.age_s is None:
        return "nothing was reported yet"
    return "its worker did not tell of its files"
