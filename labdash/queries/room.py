"""Whether a disk has room for what is to be fetched, in words; asked before the first byte."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from labdash.catalog.models import find_model
from labdash.live import StoreDown, read_states
from labdash.models import (
    InstalledModel,
    Instance,
    Manifest,
    Node,
    PullJob,
    PullSettings,
    UpstreamTag,
)
from labdash.planner.errors import PlannerError
from labdash.planner.placing.inventory import bare_digest, plain
from labdash.wording import size
from workers import wire

# Settings, templates and licences; what is smaller is no download to judge by.
CRUMBS_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Room:
    """The verdict on one disk. ``fits`` is ``None`` where nobody knows.

    ``pending_bytes`` is what downloads that were asked for still take, ``after_bytes`` what is
    free once all of it has come, below 0 where it does not fit.
    """

    fits: bool | None
    words: str
    free_bytes: int | None = None
    keep_bytes: int = 0
    pending_bytes: int = 0
    after_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Disks:
    """The disks of some servers, by their keys."""

    free: Mapping[int, int] = field(default_factory=dict)
    keep: Mapping[int, int] = field(default_factory=dict)
    pending: Mapping[int, int] = field(default_factory=dict)

    def room_for(self, instance: Instance, need_bytes: int | None) -> Room:
        """Judge one download that nobody has asked for yet."""
        return judge(
            str(instance.node),
            need_bytes,
            free_bytes=self.free.get(instance.pk),
            keep_bytes=self.keep.get(instance.pk, 0),
            pending_bytes=self.pending.get(instance.pk, 0),
        )


def room_for(instance: Instance, need_bytes: int | None) -> Room:
    """Judge one download to one server, with three queries; see ``read_disks`` for many."""
    return read_disks([instance]).room_for(instance, need_bytes)


def judge(
    node: str,
    need_bytes: int | None,
    *,
    free_bytes: int | None,
    keep_bytes: int,
    pending_bytes: int = 0,
) -> Room:
    """Put into words whether so much fits. Pure."""
    room = Room(
        fits=None,
        words=f"What is free on the disk of {node} is not known.",
        free_bytes=free_bytes,
        keep_bytes=keep_bytes,
        pending_bytes=pending_bytes,
    )
    if free_bytes is None:
        return room
    beside = [f"{size(keep_bytes)} to be kept free"] if keep_bytes else []
    if pending_bytes:
        beside.append(f"{size(pending_bytes)} for other pulls")
    less = f", less {' and '.join(beside)}" if beside else ""
    has = f"{node} has {size(free_bytes)} free{less}"
    if need_bytes is None:
        return replace(room, words=f"{has}; what this takes is not known.")
    after = free_bytes - pending_bytes - need_bytes
    if after < keep_bytes and need_bytes:
        short = size(keep_bytes - after)
        words = f"{has}: {short} short of the {size(need_bytes)} that this takes."
        return replace(room, fits=False, words=words, after_bytes=after)
    words = f"{size(after)} will be left on {node}."
    return replace(room, fits=True, words=words, after_bytes=after)


def read_disks(instances: Iterable[Instance]) -> Disks:
    """Read what is free and what is to come, for servers of any nodes, with three queries.

    Servers of one node whose disks have the same size and room are on one disk.
    """
    settings = PullSettings.read()
    keys = {each.node_id for each in instances}
    nodes = list(Node.objects.filter(pk__in=keys).prefetch_related("instances"))
    newest = _newest(nodes)
    to_come = _to_come(keys)
    free: dict[int, int] = {}
    keep: dict[int, int] = {}
    pending: dict[int, int] = {}
    for node in nodes:
        disks = newest.get(node.slug) or _kept(node)
        for row in node.instances.all():
            keep[row.pk] = keep_free_bytes(node, settings)
            disk = disks.get(row.name)
            if disk is not None:
                free[row.pk] = disk.free_bytes
            beside = (each for each in node.instances.all() if each.pk != row.pk)
            same = [each.pk for each in beside if _is_same(disks.get(each.name), disk)]
            pending[row.pk] = sum(to_come[pk] for pk in (row.pk, *same))
    return Disks(free=free, keep=keep, pending=pending)


def keep_free_bytes(node: Node, settings: PullSettings) -> int:
    """Return what shall stay free on the disks of a node."""
    own = node.keep_free_bytes
    return settings.keep_free_bytes if own is None else own


def missing_bytes(instance: Instance, model: str) -> int | None:
    """Tell what a pull of a name really fetches: files that are there do not count.

    ``None`` where nobody knows what is published under it.
    """
    files = _published(model)
    if files is None:
        return None if _is_there(instance, model) else _by_catalog(model)
    here = {
        digest
        for layers in Manifest.objects.filter(instance=instance).values_list("layers", flat=True)
        for digest in files_of(layers)
    }
    weights = InstalledModel.objects.filter(instance=instance, variant__blob_digest__isnull=False)
    blobs = weights.values_list("variant__blob_digest", flat=True)
    here.update(bare_digest(blob) for blob in blobs if blob)
    begun = _begun(instance)
    missing = sum(
        max(0, size_bytes - begun.get(digest, 0))
        for digest, size_bytes in files.items()
        if digest not in here
    )
    return missing if missing >= CRUMBS_BYTES else 0


def files_of(layers: object) -> dict[str, int]:
    """Read stored layers: bytes by digest. What another version stored may look otherwise."""
    found: dict[str, int] = {}
    for each in layers if isinstance(layers, list) else ():
        match each:
            case [str(digest), int(size_bytes), *_]:
                found[bare_digest(digest)] = size_bytes
    return found


def shelf_of(instance: Instance) -> wire.ShelfReading | None:
    """Return what lies in a server's store beside its names; ``None`` where that was not told."""
    try:
        return wire.ShelfReading.model_validate(instance.shelf) if instance.shelf else None
    except ValidationError:
        return None


def _published(model: str) -> dict[str, int] | None:
    """Return the files of a name as it was last seen upstream, else as another server has it."""
    tags = UpstreamTag.objects.filter(name__iexact=model, manifest__isnull=False)
    if layers := tags.values_list("manifest__layers", flat=True).first():
        return files_of(layers)
    row = InstalledModel.objects.filter(name__iexact=model, is_cloud=False, parent_model="")
    newest = row.order_by("-modified_at").values_list("instance_id", "digest").first()
    if newest is None:
        return None
    kept = Manifest.objects.filter(instance_id=newest[0], digest=newest[1])
    layers = kept.values_list("layers", flat=True).first()
    return files_of(layers) if layers else None


def _is_there(instance: Instance, model: str) -> bool:
    rows = InstalledModel.objects.filter(instance=instance, is_cloud=False)
    return plain(model) in {plain(name) for name in rows.values_list("name", flat=True)}


def _by_catalog(model: str) -> int | None:
    """Tell the size of a file of Ollama's library that the catalog knows to the byte."""
    try:
        found = find_model(model)
    except PlannerError:
        return None
    named = plain(model)
    for file in found.model.files:
        if plain(file.file) == named:
            return file.bytes + (file.projector_bytes or 0)
    return None


def _begun(instance: Instance) -> dict[str, int]:
    shelf = shelf_of(instance)
    return {each.digest: each.size_bytes for each in shelf.partials} if shelf else {}


def _to_come(nodes: Iterable[int]) -> defaultdict[int, int]:
    jobs = PullJob.objects.active().filter(instance__node__in=nodes, total_bytes__isnull=False)
    found: defaultdict[int, int] = defaultdict(int)
    for pk, total, done in jobs.values_list("instance_id", "total_bytes", "done_bytes"):
        found[pk] += max(0, (total or 0) - (done or 0))
    return found


def _newest(nodes: Iterable[Node]) -> dict[str, dict[str, wire.DiskReading]]:
    """Return the disks of each node's servers as it tells them now; nothing without the store."""
    try:
        states = read_states(node.slug for node in nodes)
    except StoreDown:
        return {}
    return {
        slug: {each.name: each.disk for each in state.sample.instances if each.disk}
        for slug, state in states.items()
    }


def _kept(node: Node) -> dict[str, wire.DiskReading]:
    """Return the disks of a node's servers as they were stored last."""
    found: dict[str, wire.DiskReading] = {}
    sample = node.last_sample if isinstance(node.last_sample, dict) else {}
    for reading in sample.get("instances") or ():
        try:
            found[str(reading["name"])] = wire.DiskReading.model_validate(reading["disk"])
        except (ValidationError, KeyError, TypeError):
            continue
    return found


def _is_same(one: wire.DiskReading | None, other: wire.DiskReading | None) -> bool:
    return (
        one is not None
        and other is not None
        and (one.total_bytes, one.free_bytes) == (other.total_bytes, other.free_bytes)
    )
