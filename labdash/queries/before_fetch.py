"""What a pull would really fetch to a server, from where, how long it takes, and what is left."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labdash.live import StoreDown
from labdash.models import (
    InstalledModel,
    Instance,
    Manifest,
    NodeKind,
    PullSettings,
    PullSource,
)
from labdash.planner.lab import Variant
from labdash.planner.placing.inventory import bare_digest, download_bytes, names_of, plain
from labdash.queries.cache import read_state
from labdash.queries.givers import Copy
from labdash.queries.lab import LabView
from labdash.queries.pull_speed import Pace, Road, pace_of
from labdash.queries.room import CRUMBS_BYTES, Disks, Room, files_of, shelf_of
from labdash.sources.registry import Manifest as PublishedManifest


@dataclass(frozen=True, kw_only=True)
class Store:
    """What lies on a server: plain names, and digests of files without ``sha256:``.

    ``is_told``: all its files are known, not the weights alone. ``begun`` are bytes of downloads
    that were not finished.
    """

    names: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    is_told: bool = False
    begun: Mapping[str, int] = field(default_factory=dict)

    def has(self, variant: Variant) -> bool:
        """Tell whether a variant's weights are there."""
        if variant.digest and bare_digest(variant.digest) in self.files:
            return True
        return bool(names_of(variant) & self.names)


NOTHING = Store()


@dataclass(frozen=True, kw_only=True)
class Giver:
    """Where a pull comes from. ``node`` is whose name is ``slug``, where a machine gives.

    ``is_kept``: it passes the hub's cache, which keeps it for the next one. ``note`` is why a
    machine that has it does not give it.
    """

    source: PullSource
    node: int | None = None
    slug: str = ""
    is_kept: bool = False
    note: str = ""

    @property
    def words(self) -> str:
        """Name it in a sentence."""
        kept = ", through the hub's cache" if self.is_kept else ""
        return f"{self.slug or self.source.label}{kept}"


INTERNET = Giver(source=PullSource.INTERNET)


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """A pull of one variant to one server.

    ``bytes`` is 0 where all of it is there, ``None`` where nobody knows. ``is_exact``: by the files
    that the registry names, not by a reckoned size. ``room`` is the verdict on the disk.
    """

    is_there: bool
    bytes: int | None
    is_exact: bool
    room: Room
    giver: Giver = INTERNET
    pace: Pace | None = None

    @property
    def seconds(self) -> float | None:
        """Tell how long it takes at the usual speed, ``None`` where that is not known."""
        if self.bytes is None or self.pace is None:
            return None
        return self.bytes / self.pace.bytes_per_s

    @property
    def short_bytes(self) -> int:
        """Tell what the disk lacks for it."""
        if self.room.fits is not False:
            return 0
        return self.room.keep_bytes - (self.room.after_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class Stores:
    """What decides over fetches: all servers' files, disks, speeds and what holds for all."""

    stores: Mapping[int, Store]
    copies: Mapping[str, Sequence[Copy]]
    disks: Disks
    paces: Mapping[Road, Pace]
    settings: PullSettings
    limit_bytes_per_s: int | None = None
    has_cache: bool = False
    cached: frozenset[str] = frozenset()


def read_stores(lab: LabView) -> Mapping[int, Store]:
    """Return what lies on each server, with two queries."""
    names: defaultdict[int, set[str]] = defaultdict(set)
    files: defaultdict[int, set[str]] = defaultdict(set)
    rows = InstalledModel.objects.filter(is_cloud=False)
    for key, name, blob in rows.values_list("instance_id", "name", "variant__blob_digest"):
        names[key].add(plain(name))
        if blob:
            files[key].add(bare_digest(blob))
    told = set()
    for key, layers in Manifest.objects.values_list("instance_id", "layers"):
        files[key].update(files_of(layers))
        told.add(key)
    return {
        each.pk: Store(
            names=frozenset(names[each.pk]),
            files=frozenset(files[each.pk]),
            is_told=each.pk in told,
            begun=_begun(each),
        )
        for view in lab.nodes
        for each in view.node.instances.all()
    }


def _begun(instance: Instance) -> dict[str, int]:
    """Return what unfinished downloads have."""
    shelf = shelf_of(instance)
    return {bare_digest(each.digest): each.size_bytes for each in shelf.partials} if shelf else {}


def fetch(
    variant: Variant, instance: Instance, published: PublishedManifest | None, told: Stores
) -> Fetch:
    """Tell of one pull."""
    store = told.stores.get(instance.pk, NOTHING)
    size = missing_bytes(variant, published, store)
    giver = giver_of(variant, instance, published, told)
    limits = (told.limit_bytes_per_s, instance.node.pull_bytes_per_s)
    return Fetch(
        is_there=store.has(variant),
        bytes=size,
        is_exact=published is not None,
        giver=giver,
        pace=pace_of(told.paces, instance.node_id, giver.source, giver.node, limits=limits),
        room=told.disks.room_for(instance, size),
    )


def missing_bytes(
    variant: Variant, published: PublishedManifest | None, store: Store
) -> int | None:
    """Sum up the files that are not there; what is published may be newer than what is there."""
    if published is None:
        return 0 if store.has(variant) else download_bytes(variant)
    weights = published.weights
    if not store.is_told and weights and bare_digest(weights.digest) in store.files:
        return 0
    files = {bare_digest(each.digest): each.bytes for each in published.layers}
    missing = sum(
        max(0, size - store.begun.get(digest, 0))
        for digest, size in files.items()
        if digest not in store.files
    )
    return missing if missing >= CRUMBS_BYTES else 0


def giver_of(
    variant: Variant, instance: Instance, published: PublishedManifest | None, told: Stores
) -> Giver:
    """Foretell what ``domain.sourcing`` will choose: another machine, the cache, the internet.

    Whether that machine is busy then, or fails, nobody knows yet.
    """
    note = ""
    if told.settings.neighbours and instance.node.kind != NodeKind.WINDOWS:
        copies = [
            each
            for each in told.copies.get(plain(variant.name), ())
            if each.row.instance_id != instance.pk
        ]
        digest = published.digest if published else None
        for copy in sorted(copies, key=lambda each: each.row.instance.node_id != instance.node_id):
            note = copy.why_not(digest)
            if not note:
                node = copy.row.instance.node
                return Giver(source=PullSource.NEIGHBOUR, node=node.pk, slug=node.slug)
    if told.has_cache and names_of(variant) & told.cached:
        return Giver(source=PullSource.CACHE, note=note)
    return Giver(source=PullSource.INTERNET, is_kept=told.has_cache, note=note)


def read_copies(lab: LabView) -> dict[str, list[Copy]]:
    """Return what each machine could give, by plain names, with two queries."""
    homes = {each.pk: each for view in lab.nodes for each in view.node.instances.all()}
    seen = {view.node.pk for view in lab.nodes if view.liveness in ("live", "late")}
    readable = set(Manifest.objects.values_list("instance_id", "digest"))
    found: defaultdict[str, list[Copy]] = defaultdict(list)
    for row in InstalledModel.objects.filter(is_cloud=False):
        if (home := homes.get(row.instance_id)) is not None:
            row.instance = home
            is_readable = (row.instance_id, row.digest) in readable
            copy = Copy(row=row, is_seen=home.node_id in seen, is_readable=is_readable)
            found[plain(row.name)].append(copy)
    return found


def read_cached() -> frozenset[str] | None:
    """Return the plain names that the hub's cache has whole; ``None`` where it does not run."""
    try:
        state = read_state()
    except StoreDown:
        return None
    return frozenset(plain(each.model) for each in state.models if each.is_whole) if state else None
