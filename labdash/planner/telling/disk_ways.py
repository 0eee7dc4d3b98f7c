"""The way out of a full disk: which models could go that nothing planned needs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from labdash.planner.lab import Node
from labdash.planner.placing.inventory import (
    bare_digest,
    blob_key,
    download_bytes,
    is_installed,
    names_of,
    plain,
)
from labdash.planner.plan import Choice, WayOut
from labdash.planner.telling.names import FOLDER
from labdash.planner.telling.near import Search
from labdash.planner.telling.server_ways import fitting
from labdash.planner.telling.stage import Stage, where
from labdash.planner.telling.words import gib, one_line
from labdash.planner.what_if import without_files

# So many places, whose nodes are looked at.
MOST_PLACES = 24


class _Spare(NamedTuple):
    """A file that nothing planned needs, with all names that have to go before it does."""

    names: tuple[str, ...]
    bytes: int


def freed_disk(search: Search) -> Iterator[WayOut]:
    """Yield the first node that would serve it after a few models were removed from its disk."""
    nodes = dict.fromkeys(each.node.name for each in search.places(most=MOST_PLACES))
    for name in nodes:
        node = search.stage.node(name)
        gone = _enough(_spares(search.stage, node), _short_bytes(search, node))
        freed = sum(each.bytes for each in gone)
        names = [each for spare in gone for each in spare.names]
        choice = _after(search, node, names, freed) if gone else None
        if choice is not None:
            listed = " ".join(map(one_line, names))
            text = (
                f"After ollama rm {listed} on {name}, which frees {gib(freed)} that nothing planned"
                f" needs, it fits on {where(choice)}."
            )
            yield WayOut(kind="disk", value=name, text=text, at_server=True)
            return


def _short_bytes(search: Search, node: Node) -> int:
    """Tell what a disk lacks for the floor beside all that is to be downloaded there."""
    variant = search.deployment.variants[-1]
    if node.disk_free_bytes is None or any(is_installed(variant, e) for e in node.instances):
        return 0
    files = {
        blob_key(each.choice.variant): each.choice.download_bytes
        for each in search.stage.plan.placements
        if each.choice.node == node.name and each.choice.download_bytes
    }
    files[blob_key(variant)] = download_bytes(variant)
    return sum(files.values()) - node.disk_free_bytes


def _spares(stage: Stage, node: Node) -> list[_Spare]:
    """List what could go, the largest first. Servers of one node may share their folder."""
    names: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for instance in node.instances:
        for name in instance.installed:
            digest = instance.blobs.get(name)
            if digest is None and plain(name).startswith(FOLDER):
                # An alias of other weights: what goes with it is not known.
                continue
            key = bare_digest(digest) if digest else plain(name)
            names.setdefault(key, set()).add(name)
            sizes[key] = max(sizes.get(key, 0), instance.file_bytes.get(name, 0))
    used = _used(stage, node)
    spares = (
        _Spare(tuple(sorted(held)), sizes[key])
        for key, held in names.items()
        if sizes[key] and key not in used and not used & set(map(plain, held))
    )
    return sorted(spares, key=lambda spare: (-spare.bytes, spare.names))


def _used(stage: Stage, node: Node) -> set[str]:
    """Return names and digests of what is planned on a node, or runs there."""
    used = set()
    for each in stage.plan.placements:
        if each.choice.node == node.name:
            used |= {blob_key(each.choice.variant), *names_of(each.choice.variant)}
    for instance in node.instances:
        for running in instance.running:
            used.add(plain(running.name))
            if digest := instance.blobs.get(running.name):
                used.add(bare_digest(digest))
    return used


def _enough(spares: Sequence[_Spare], short_bytes: int) -> Sequence[_Spare]:
    """Choose the smallest one that is enough, else the largest until they are; nothing else."""
    if short_bytes <= 0:
        return ()
    alone = [spare for spare in spares if spare.bytes >= short_bytes]
    if alone:
        return alone[-1:]
    freed = 0
    for count, spare in enumerate(spares, start=1):
        freed += spare.bytes
        if freed >= short_bytes:
            return spares[:count]
    return ()


def _after(search: Search, node: Node, names: list[str], freed: int) -> Choice | None:
    lab = without_files(search.stage.lab, node.name, names, freed_bytes=freed)
    stage = Stage(lab, search.stage.plan)
    tried = (
        fitting(stage, search.deployment, search.refusal.replica, each.name)
        for each in node.instances
    )
    return next((choice for choice in tried if choice is not None), None)
