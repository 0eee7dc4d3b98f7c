"""The smallest columns of each place: enough to tell who can be served, and where."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from labdash.planner.loading import way_of
from labdash.planner.solving.problem import Column


def slim(columns: Iterable[Column]) -> list[Column]:
    """Leave out columns than which another one of the same place is smaller in everything.

    What two deployments might share stays.
    """
    users: dict[object, set[int]] = defaultdict(set)
    spots: dict[object, list[Column]] = defaultdict(list)
    for column in columns:
        users[column.runner, way_of(column.choice)].add(column.wanted)
        spots[_spot(column)].append(column)
    kept = []
    for group in spots.values():
        least: list[tuple[int, ...]] = []
        for sizes, column in sorted(((_sizes(each), each) for each in group), key=_first):
            if len(users[column.runner, way_of(column.choice)]) > 1:
                kept.append(column)
            elif not any(_covers(other, sizes) for other in least):
                least.append(sizes)
                kept.append(column)
    return sorted(kept, key=lambda each: each.number)


def stand_in(column: Column, columns: Sequence[Column]) -> Column | None:
    """Find a column that is nowhere larger, at the same place."""
    spot, sizes = _spot(column), _sizes(column)
    alike = (each for each in columns if each.wanted == column.wanted and _spot(each) == spot)
    return next((each for each in alike if _covers(_sizes(each), sizes)), None)


def _first(pair: tuple[tuple[int, ...], Column]) -> tuple[tuple[int, ...], int]:
    return pair[0], pair[1].number


def _spot(column: Column) -> object:
    choice = column.choice
    form = "gpu" if column.sure and choice.form == "partial" else choice.form
    return (column.wanted, choice.instance, form, column.reach, choice.gpu_devices)


def _sizes(column: Column) -> tuple[int, ...]:
    choice = column.choice
    return (
        column.group.cpu,
        *(size for _, size in column.loads),
        choice.host_bytes,
        choice.predicted_bytes,
        choice.margin_bytes,
        choice.download_bytes,
    )


def _covers(one: Sequence[int], other: Sequence[int]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
