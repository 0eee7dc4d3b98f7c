"""What names take of a disk that they share, and which of them nobody uses. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A name on a server with its files, by digest in bytes.

    ``is_exact``: these are all of its files; else one stands for all of them, which may share
    some with others. ``weights`` is the digest of what is loaded into memory. ``idle_s`` is how
    long it was not used, as far as anybody watched; ``needs`` are what stands against deleting it.
    """

    name: str
    files: Mapping[str, int]
    is_exact: bool
    weights: str
    idle_s: float = 0.0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Names of the same weights that may go together, and what that frees."""

    names: tuple[str, ...]
    frees_bytes: int
    is_exact: bool
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk. ``pending_bytes`` is what downloads that were asked for still take."""

    free_bytes: int | None
    keep_bytes: int = 0
    pending_bytes: int = 0


def unique_bytes(shelf: Iterable[Kept]) -> int:
    """Sum up the files of all names, each once."""
    files: dict[str, int] = {}
    for each in shelf:
        files.update(each.files)
    return sum(files.values())


def freed_bytes(shelf: Iterable[Kept], names: Collection[str]) -> int:
    """Tell what deleting names frees: the files that no other name has."""
    gone: dict[str, int] = {}
    kept: set[str] = set()
    for each in shelf:
        if each.name in names:
            gone.update(each.files)
        else:
            kept.update(each.files)
    return sum(size for digest, size in gone.items() if digest not in kept)


def freed_by_each(shelf: Sequence[Kept]) -> dict[str, int]:
    """Tell what deleting each name alone frees."""
    holders = Counter(digest for each in shelf for digest in each.files)
    return {
        each.name: sum(size for digest, size in each.files.items() if holders[digest] == 1)
        for each in shelf
    }


def unused(shelf: Sequence[Kept], *, after_s: float) -> tuple[Group, ...]:
    """Return what nobody used for so long and nothing needs, what frees most first.

    Names of the same weights go together or not at all: alone, none of them frees anything.
    """
    groups: defaultdict[str, list[Kept]] = defaultdict(list)
    for each in shelf:
        groups[each.weights].append(each)
    idle = [
        _group(shelf, group)
        for group in groups.values()
        if all(each.idle_s >= after_s and not each.needs for each in group)
    ]
    return tuple(sorted(idle, key=lambda group: (-group.frees_bytes, group.names)))


def enough(groups: Iterable[Group], wanted_bytes: int) -> tuple[Group, ...]:
    """Return as many of the groups, the longest unused first, as free what is wanted."""
    chosen: list[Group] = []
    for each in sorted(groups, key=lambda group: (-group.idle_s, group.names)):
        if wanted_bytes <= 0:
            break
        if each.frees_bytes:
            chosen.append(each)
            wanted_bytes -= each.frees_bytes
    return tuple(chosen)


def _group(shelf: Sequence[Kept], group: Sequence[Kept]) -> Group:
    names = tuple(sorted(each.name for each in group))
    return Group(
        names=names,
        frees_bytes=freed_bytes(shelf, names),
        is_exact=all(each.is_exact for each in shelf),
        idle_s=min(each.idle_s for each in group),
    )
