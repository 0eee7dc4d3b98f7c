"""Which of a deployment's columns may fit beside what is there, told by bytes alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from labdash.planner.solving.problem import Group, Place

# Groups that are looked at in one step, all their places at once.
STEP = 64


@dataclass(frozen=True, slots=True)
class Left:
    """Bytes left by GPU and by node, and the files that nodes have or get.

    Where a file is, a runner may be shared, so that nothing need be left there.
    """

    free: Mapping[str, int]
    disks: Sequence[float]
    files: Collection[tuple[int, str]]


def fitting(groups: Sequence[Group], left: Left) -> Iterator[tuple[Group, list[int]]]:
    """Yield the groups that may fit somewhere, with the numbers of those places, fullest first."""
    for first in range(0, len(groups), STEP):
        part = [(number, groups[number]) for number in range(first, min(first + STEP, len(groups)))]
        free, disks = left.free, left.disks
        found = [
            (number, _least(place, free), position)
            for number, group in part
            for need in [group.need_bytes if group.sure else 0]
            for position, place in enumerate(group.places)
            if need <= free[place.device]
            and group.download_bytes <= disks[place.node]
            and all(need <= free[other] for other in place.others)
        ]
        if left.files:
            found += _shared(part, left.files)
        for number, places in groupby(sorted(found), key=lambda each: each[0]):
            yield groups[number], list(dict.fromkeys(position for _, _, position in places))


def _least(place: Place, free: Mapping[str, int]) -> int:
    if not place.others:
        return free[place.device]
    return min([free[place.device], *[free[other] for other in place.others]])


def _shared(
    part: Sequence[tuple[int, Group]], files: Collection[tuple[int, str]]
) -> list[tuple[int, int, int]]:
    return [
        (number, 0, position)
        for number, group in part
        for position, place in enumerate(group.places)
        if (place.node, group.file) in files
    ]
