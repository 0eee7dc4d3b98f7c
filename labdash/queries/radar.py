"""Which installed models are older than what is published, and what an update would bring."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from labdash.models import (
    HELD_BACK,
    InstalledModel,
    Instance,
    Manifest,
    Update,
    UpdateState,
    UpstreamManifest,
    UpstreamState,
    UpstreamTag,
)
from labdash.models.library import KEPT_FOLDER, REPLACED_FOLDER
from labdash.planner.errors import PlannerError
from labdash.planner.placing.inventory import is_cloud, plain
from labdash.planner.telling.names import FOLDER
from labdash.queries.versions import (
    Difference,
    File,
    Here,
    There,
    difference,
    files_of,
    hex_of,
    is_raw,
    is_too_old,
)
from labdash.sources.registry import address_of

OWN_FOLDERS = (FOLDER, KEPT_FOLDER, REPLACED_FOLDER)

# Of one shape, no two quants are as near in size as this; what is farther was made into another.
ANOTHER_QUANT = 0.02

# So long an answer counts as one of these days.
FRESH = timedelta(days=7)

type Standing = Literal["same", "newer", "held", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A name on a server, compared with what is published under it.

    ``parent`` is what it was made from, of which alone the weights are compared. ``update`` is
    under way, ``held`` the one for which its owner kept this version back. ``needs`` is the Ollama
    that the published version asks for, where the server's is older.
    """

    installed: InstalledModel
    standing: Standing
    difference: Difference | None = None
    parent: str = ""
    update: Update | None = None
    held: Update | None = None
    needs: str = ""
    published_digest: str = ""

    @property
    def instance(self) -> Instance:
        """Return its server."""
        return self.installed.instance

    @property
    def is_free(self) -> bool:
        """Whether it can be updated: it is older, its server can run what is newer, nobody does."""
        return self.is_idle and self.standing == "newer" and not self.parent and not self.needs

    @property
    def is_idle(self) -> bool:
        """Whether nothing is done about it: one that is in place may be updated once more."""
        done = {UpdateState.ASKED, UpdateState.TRYING}
        return self.update is None or self.update.state in done


@dataclass(frozen=True, kw_only=True)
class Line:
    """A name with all its copies. ``tag`` is None where it is not asked for anywhere."""

    name: str
    tag: UpstreamTag | None
    copies: tuple[Copy, ...]

    @property
    def newer(self) -> tuple[Copy, ...]:
        """Return the copies that are older than what is published, those kept back left out."""
        return tuple(copy for copy in self.copies if copy.standing == "newer")


@dataclass(frozen=True, kw_only=True)
class _Shelf:
    """What is known of the files of one server."""

    versions: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    is_whole: bool = False


def read_radar(instances: Iterable[Instance] | None = None) -> tuple[Line, ...]:
    """Compare all names of the servers, or of some, by the last good answers."""
    rows = _installed()
    if instances is not None:
        keys = {each.pk for each in instances}
        rows = [row for row in rows if row.instance_id in keys]
    tags = {tag.name.lower(): tag for tag in UpstreamTag.objects.select_related("manifest")}
    shelves = _shelves(rows)
    active, held = _updates()
    lines: defaultdict[str, list[Copy]] = defaultdict(list)
    for row in rows:
        key = (row.instance_id, plain(row.name))
        tag = tags.get((source_of(row) or "").lower())
        copy = _copy(row, tag, shelves[row.instance_id], active.get(key), held.get(key))
        lines[plain(row.name)].append(copy)
    return tuple(
        Line(
            name=copies[0].installed.name,
            tag=tags.get((source_of(copies[0].installed) or "").lower()),
            copies=tuple(copies),
        )
        for _, copies in sorted(lines.items())
    )


def can_come_again(*, now: datetime) -> set[int]:
    """Return the keys of what is published under its own name, so that a pull would bring it back.

    A version that somebody kept back would not come, nor what was made here, nor what nobody asked
    for lately.
    """
    return {
        copy.installed.pk
        for line in read_radar()
        if line.tag is not None and line.tag.state == UpstreamState.THERE
        if line.tag.checked_at is not None and now - line.tag.checked_at < FRESH
        for copy in line.copies
        if copy.standing in {"same", "newer"} and not copy.parent
    }


def names_to_ask() -> set[str]:
    """Return under which names something is installed that may be published."""
    return {name for row in _installed() if (name := source_of(row)) is not None}


def source_of(row: InstalledModel) -> str | None:
    """Return under which name a model is published: its own, or that of what it was made from."""
    name = row.parent_model or row.name
    if is_own(name) or is_cloud(name):
        return None
    try:
        address_of(name)
    except PlannerError:
        return None
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def is_own(name: str) -> bool:
    """Tell whether LabDash made a name for itself."""
    return name.lower().startswith(OWN_FOLDERS)


def _installed() -> list[InstalledModel]:
    rows = InstalledModel.objects.filter(is_cloud=False).select_related("instance__node", "variant")
    rows = rows.defer("instance__shelf", "instance__node__last_sample")
    rows = rows.order_by("name", "instance__node__slug", "instance__name")
    return [row for row in rows if not is_own(row.name)]


def _shelves(rows: Iterable[InstalledModel]) -> dict[int, _Shelf]:
    """Gather what each server has, by its own word where it tells, else by what is known of it."""
    mine: defaultdict[int, list[InstalledModel]] = defaultdict(list)
    for row in rows:
        mine[row.instance_id].append(row)
    told: defaultdict[int, dict[str, tuple[File, ...]]] = defaultdict(dict)
    for each in Manifest.objects.filter(instance__in=mine):
        told[each.instance_id][each.digest] = files_of(each.layers)
    digests = {row.digest for row in rows}
    published = {
        each.digest: files_of(each.layers)
        for each in UpstreamManifest.objects.filter(digest__in=digests)
    }
    return {key: _shelf(found, told[key], published) for key, found in mine.items()}


def _shelf(
    rows: list[InstalledModel],
    told: Mapping[str, tuple[File, ...]],
    published: Mapping[str, tuple[File, ...]],
) -> _Shelf:
    versions = {**{row.digest: published.get(row.digest, ()) for row in rows}, **told}
    files = {file.digest for found in versions.values() for file in found}
    weights = {hex_of(row.variant.blob_digest or "") for row in rows if row.variant}
    return _Shelf(
        versions=versions,
        present=frozenset(files | weights - {""}),
        is_whole=bool(told) and all(row.digest in told for row in rows),
    )


def _updates() -> tuple[dict[tuple[int, str], Update], dict[tuple[int, str], Update]]:
    """Return the updates that are under way, and the newest of those held back."""
    rows = Update.objects.select_related("instance__node", "name_job", "pull_job", "run__schedule")
    rows = rows.defer("instance__shelf", "instance__node__last_sample")
    active = {(row.instance_id, plain(row.model)): row for row in rows.active()}
    held: dict[tuple[int, str], Update] = {}
    for row in rows.filter(state__in=HELD_BACK).order_by("pk"):
        held[row.instance_id, plain(row.model)] = row
    return active, held


def _copy(
    row: InstalledModel,
    tag: UpstreamTag | None,
    shelf: _Shelf,
    update: Update | None,
    held: Update | None,
) -> Copy:
    if tag is None or tag.manifest is None or tag.state == UpstreamState.GONE:
        return Copy(installed=row, standing="unknown", parent=_parent(row), update=update)
    published, parent = tag.manifest, _parent(row)
    there = There(digest=published.digest, files=files_of(published.layers))
    found = (
        _by_weights(row, there)
        if row.parent_model
        else difference(_here(row, shelf), there, present=shelf.present, is_whole=shelf.is_whole)
    )
    is_held = held is not None and held.to_digest == published.digest and found.is_newer
    is_old = found.is_newer and is_too_old(row.instance.version, published.requires)
    newer: Standing = "held" if is_held else "newer"
    other: Standing = "same" if found.what == "same" else "unknown"
    return Copy(
        installed=row,
        standing=newer if found.is_newer else other,
        difference=found,
        parent=parent,
        update=update,
        held=held if is_held else None,
        needs=published.requires if is_old else "",
        published_digest=published.digest,
    )


def _parent(row: InstalledModel) -> str:
    """Return what a model was made from; one that was given options is still itself."""
    return "" if plain(row.parent_model) == plain(row.name) else row.parent_model


def _here(row: InstalledModel, shelf: _Shelf) -> Here:
    weights = row.variant.blob_digest if row.variant else None
    return Here(
        digest=row.digest,
        weights=hex_of(weights or ""),
        size_bytes=row.size_bytes,
        files=shelf.versions.get(row.digest, ()),
        is_raw=is_raw(version=row.instance.version, modified_at=row.modified_at),
    )


def _by_weights(row: InstalledModel, there: There) -> Difference:
    """Compare what was made from a model with it: its own texts are meant to differ."""
    mine = hex_of((row.variant.blob_digest if row.variant else None) or "")
    other = abs(row.size_bytes - there.size_bytes) > ANOTHER_QUANT * there.size_bytes
    if not mine or not there.weights or other:
        return Difference(what="unknown")
    return Difference(what="same" if mine == there.weights else "weights", parts=("weights",))
