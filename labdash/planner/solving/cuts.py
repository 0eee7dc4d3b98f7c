"""What rows left out: sets of columns that a node does not hold, and all that are no smaller."""

from collections.abc import Iterable, Iterator, Sequence

from labdash.planner.loading import is_same_load
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.rows import Row

# Limits that bind a larger load wherever they bind a smaller one.
OF_SIZE = frozenset(("gpu", "ram", "eviction"))
# Limits that follow from the columns alone, however they come out.
PLAIN = frozenset(("runner", "disk"))


class Cutter:
    """Makes rows over the columns of a program, numbered in its order.

    ``strict``: a split that does not come out might do so beside further loads. Otherwise it is
    taken that less free memory never helps.
    """

    def __init__(self, problem: Problem, columns: Sequence[Column], *, strict: bool) -> None:
        self._problem = problem
        self._strict = strict
        self._numbers = {column.number: number for number, column in enumerate(columns)}
        self._at: dict[object, list[Column]] = {}
        self._runners: dict[object, list[Column]] = {}
        for column in columns:
            self._at.setdefault(_spot(column), []).append(column)
            self._runners.setdefault(column.runner, []).append(column)
        # Two deployments may share these, so that one more of them may cost nothing.
        self._shared = {
            runner
            for runner, users in self._runners.items()
            if len({column.wanted for column in users}) > 1
        }

    def cuts(self, node: int, columns: Sequence[Column]) -> Iterator[Row]:
        """Forbid a set that a node does not hold, and its like in places that are alike."""
        yield self._cut(node, columns)
        if _at_odds(columns) or not all(column.sure for column in columns):
            return
        least = self._least(node, columns)
        for place, alike in self._elsewhere(least):
            if not self._problem.verdict(place, alike).holds:
                yield self._cut(place, alike)

    def _elsewhere(self, columns: Sequence[Column]) -> Iterator[tuple[int, list[Column]]]:
        """Find the columns of the same deployments on other GPUs that are alike."""
        members = [column.group.profile.members for column in columns]
        here = [
            each[column.number - column.group.number] for each, column in _pairs(members, columns)
        ]
        if len(set(here)) > 1 or not here[0].gpus:
            return
        for member in members[0]:
            if member != here[0] and all(member in each for each in members):
                alike = [
                    self._problem.column(column.group, each.index(member))
                    for each, column in _pairs(members, columns)
                ]
                if all(column.number in self._numbers for column in alike):
                    yield alike[0].node, alike

    def _cut(self, node: int, columns: Sequence[Column]) -> Row:
        if pair := _at_odds(columns):
            return self._one_runner(*pair)
        plain = self._limit(node, columns) in PLAIN
        if self._strict and not plain and not all(column.sure for column in columns):
            return self.exactly(node, columns)
        least = self._least(node, columns)
        guests = [column for column in least if not column.group.resident]
        if len(guests) > 1 and self._limit(node, least) == "eviction":
            return self._meeting(node, columns, least)
        if self._limit(node, least) in OF_SIZE and all(column.sure for column in least):
            return self._no_smaller(least)
        return Row({self._numbers[c.number]: 1.0 for c in least}, len(least) - 1.0)

    def _one_runner(self, one: Column, other: Column) -> Row:
        """Let the one be served so only where the other shares its runner."""
        entries = {self._numbers[one.number]: 1.0}
        for each in self._runners[one.runner]:
            if each.wanted == other.wanted and not is_same_load(each.choice, one.choice):
                entries[self._numbers[each.number]] = 1.0
        return Row(entries, 1.0)

    def _meeting(self, node: int, columns: Sequence[Column], least: Sequence[Column]) -> Row:
        """Forbid guests that get in each other's way.

        Whatever else is on their GPUs may help: Ollama then unloads one for the other.
        """
        gpus = {device for column in least for device in column.reach}
        near = [c for c in columns if gpus & set(c.reach) or c in least]
        entries = {self._numbers[column.number]: 1.0 for column in near}
        for group in self._at.values():
            for each in group:
                if each.node == node and gpus & set(each.reach):
                    entries.setdefault(self._numbers[each.number], -1.0)
        return Row(entries, len(near) - 1.0)

    def _limit(self, node: int, columns: Sequence[Column]) -> str:
        return getattr(self._problem.verdict(node, columns).outcome, "limit", "")

    def _least(self, node: int, columns: Sequence[Column]) -> list[Column]:
        """Leave out whatever the conflict does not need."""
        kept = list(columns)
        for column in columns:
            fewer = [each for each in kept if each is not column]
            if fewer and not self._problem.verdict(node, fewer).holds:
                kept = fewer
        return kept

    def exactly(self, node: int, columns: Sequence[Column]) -> Row:
        """Forbid this set, not those that hold more: a split may come out better beside others."""
        chosen = {column.number for column in columns}
        entries = {self._numbers[number]: 1.0 for number in chosen}
        for group in self._at.values():
            for each in group:
                if each.node == node and each.number not in chosen:
                    entries[self._numbers[each.number]] = -1.0
        return Row(entries, len(columns) - 1.0)

    def _no_smaller(self, columns: Sequence[Column]) -> Row:
        """Forbid the set with any of its columns, or all, exchanged for greater ones.

        What is greater than each of them may come from any deployment.
        """
        greater = [self._greater(column) for column in columns]
        for_all = set.intersection(*greater)
        entries = dict.fromkeys(for_all, 1.0)
        for column, numbers in zip(columns, greater, strict=True):
            own = {n for n in numbers if self._problem.known(n).wanted == column.wanted}
            entries.update(dict.fromkeys(own, 1.0))
        return Row({self._numbers[n]: 1.0 for n in sorted(entries)}, len(columns) - 1.0)

    def _greater(self, column: Column) -> set[int]:
        """Return the columns of the same spot that are no smaller in anything."""
        sizes = _sizes(column)
        return {column.number} | {
            other.number
            for other in self._at[_spot(column)]
            if other.runner not in self._shared
            and all(a >= b for a, b in zip(_sizes(other), sizes, strict=True))
        }


def _pairs[Each](
    members: Sequence[Each], columns: Sequence[Column]
) -> Iterator[tuple[Each, Column]]:
    return zip(members, columns, strict=True)


def _at_odds(columns: Sequence[Column]) -> tuple[Column, Column] | None:
    """Find two that want one runner in two ways."""
    firsts: dict[object, Column] = {}
    for column in columns:
        first = firsts.setdefault(column.runner, column)
        if not is_same_load(first.choice, column.choice):
            return first, column
    return None


def _spot(column: Column) -> object:
    choice = column.choice
    return (column.node, choice.instance, choice.form, choice.gpu_devices, column.group.resident)


def _sizes(column: Column) -> tuple[int, ...]:
    choice = column.choice
    return (
        *(choice.bytes.get(device, 0) for device in choice.gpu_devices),
        choice.host_bytes,
        choice.predicted_bytes,
        choice.margin_bytes,
    )


def by_node(columns: Iterable[Column]) -> dict[int, list[Column]]:
    """Part columns by node."""
    found: dict[int, list[Column]] = {}
    for column in columns:
        found.setdefault(column.node, []).append(column)
    return found
