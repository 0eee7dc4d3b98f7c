"""Where the search stands: what each node holds, and how much of each GPU is left."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf

from labdash.planner.lab import Node
from labdash.planner.loading import Settled
from labdash.planner.solving.fitting import Left, fitting
from labdash.planner.solving.plain import may_hold
from labdash.planner.solving.problem import NOWHERE, Column, Group, Problem, Verdict

type Set = tuple[Column, ...]
# What is left on a node: beside all of it and beside its residents by GPU, and of its disk.
type _Rest = tuple[dict[str, int], dict[str, int], float]
# What it takes to settle a node, in looks at a column; guests that may meet take more.
SETTLING_EFFORT = 10
# As many places where the engine divides a load are looked at for one deployment at a time.
MOST_DIVIDED = 2
# Of many places that are alike so many are tried, the fullest first.
MOST_PLACES = 16
# In a lab with so few columns no set is too laborious to look at.
FEW_COLUMNS = 100


class State:
    """Changes are made by node; each is settled before it is made."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sets: list[Set] = [()] * len(problem.nodes)
        self.worths = [0] * len(problem.nodes)
        self.held: list[list[Column]] = [[] for _ in problem.wanted]
        # What is served of each file, by its name.
        self._running: dict[str, list[Column]] = {}
        self.total = 0
        self.rooms = problem.rooms
        # What is left beside all planned ones, and beside the residents alone.
        self.free = {**self.rooms, NOWHERE: 0}
        self.beside_residents = dict(self.free)
        self.disks = [_disk(node) for node in problem.nodes]
        self._rests: dict[Verdict, _Rest] = {}
        self._small = [sorted(groups, key=_size) for groups in problem.groups]
        self.tried = 0
        self.spares_labor = problem.column_count > FEW_COLUMNS

    def open_replicas(self, wanted: int) -> int:
        """Tell how many replicas of a deployment are not served."""
        return self.problem.wanted[wanted].replicas - len(self.held[wanted])

    def set(self, node: int, columns: Set) -> bool:
        """Give a node other columns where they can be together."""
        verdict = self._verdict(node, columns)
        if verdict is None or not verdict.holds:
            return False
        self._apply(node, columns, verdict)
        return True

    def _verdict(self, node: int, columns: Set) -> Verdict | None:
        """Tell what would come of columns on a node, None where that is plain or too much work."""
        self.tried += 1
        known = self.problem.known_verdict(node, columns)
        if known is not None:
            return known
        laborious = self.spares_labor and _is_laborious(columns)
        if laborious or not may_hold(self.problem, node, columns):
            return None
        guests = sum(not column.group.resident for column in columns)
        self.tried += SETTLING_EFFORT + guests
        return self.problem.verdict(node, columns)

    def put(self, column: Column) -> bool:
        """Add a column where there is room for it, and no other replica on the same instance."""
        held, instance = self.held[column.wanted], column.choice.instance
        if any(each.choice.instance == instance for each in held):
            return False
        return self.set(column.node, (*self.sets[column.node], column))

    def take(self, column: Column) -> bool:
        """Remove a column, where what it leaves behind can be without it."""
        return self.set(column.node, without(self.sets[column.node], column))

    def _apply(self, node: int, columns: Set, verdict: Verdict) -> None:
        before = self.sets[node]
        for gone in before:
            if gone not in columns:
                self.held[gone.wanted].remove(gone)
                self._running[gone.runner[1]].remove(gone)
        for new in columns:
            if new not in before:
                self.held[new.wanted].append(new)
                self._running.setdefault(new.runner[1], []).append(new)
        self.sets[node] = columns
        self.total += verdict.worth - self.worths[node]
        self.worths[node] = verdict.worth
        self._count(node, columns, verdict)

    def _count(self, node: int, columns: Set, verdict: Verdict) -> None:
        rest = self._rests.get(verdict)
        if rest is None:
            rest = self._rests[verdict] = self._rest_of(node, columns, verdict)
        free, beside_residents, self.disks[node] = rest
        self.free.update(free)
        self.beside_residents.update(beside_residents)

    def _rest_of(self, node: int, columns: Set, verdict: Verdict) -> _Rest:
        outcome, where = verdict.outcome, self.problem.nodes[node]
        assert isinstance(outcome, Settled)  # noqa: S101 - only what holds is applied
        rooms = {device: self.rooms[device] for device in self.problem.node_devices[node]}
        free = {device: room - outcome.devices.get(device, 0) for device, room in rooms.items()}
        for load in outcome.loads:
            if load.pick.deployment.resident and load.shares is None:
                for device in rooms.keys() & load.choice.bytes.keys():
                    rooms[device] -= load.choice.bytes[device]
        files = {column.group.file: column.group.download_bytes for column in columns}
        return free, rooms, _disk(where) - sum(files.values())

    def options(self, wanted: int, *, above: int) -> Iterator[Column]:
        """Return columns of a deployment worth more than ``above`` that may fit, the best first."""
        groups = self.problem.groups[wanted]
        count = bisect_left(groups, -above, key=lambda group: -group.worth)
        divided = 0
        for column in self._fitting(wanted, groups[:count]):
            divided += not column.group.sure
            if column.group.sure or divided <= MOST_DIVIDED:
                yield column

    def smallest(self, wanted: int) -> Iterator[Column]:
        """Return columns of a deployment that may fit, what takes least first."""
        return self._fitting(wanted, self._small[wanted])

    def _fitting(self, wanted: int, groups: Sequence[Group]) -> Iterator[Column]:
        resident = self.problem.wanted[wanted].resident
        free = self.free if resident else self.beside_residents
        files = {
            (column.node, file)
            for file in self.problem.files[wanted]
            for column in self._running.get(file, ())
        }
        for group, positions in fitting(groups, Left(free, self.disks, files)):
            for position in positions[:MOST_PLACES]:
                yield self.problem.column(group, position)

    def sharing(self, wanted: int) -> Iterator[Column]:
        """Return columns of a deployment that a runner can serve which is there already."""
        problem = self.problem
        for group in problem.groups[wanted]:
            choice = group.profile.choice
            for other in self._running.get(group.file, ()):
                if (other.choice.ctx, other.choice.form) == (choice.ctx, choice.form):
                    member = other.group.profile.members[other.position]
                    if member in group.profile.members:
                        position = group.profile.members.index(member)
                        yield problem.column(group, position)

    def copy_sets(self) -> list[Set]:
        """Remember where the search stands."""
        return list(self.sets)

    def restore(self, sets: Sequence[Set]) -> None:
        """Go back to what was remembered."""
        for node, columns in enumerate(sets):
            if columns != self.sets[node]:
                verdict = self.problem.verdict(node, columns)
                self._apply(node, columns, verdict)


def _is_laborious(columns: Set) -> bool:
    """Whether a load would have to be divided by what else is there, which takes long to tell.

    One resident comes first, and out as in an empty lab. A guest does so beside no resident and
    few guests.
    """
    divided = [column for column in columns if not column.group.sure]
    if not divided or len(columns) == 1:
        return False
    if len(divided) > 1:
        return True
    return not divided[0].group.resident and any(
        set(each.reach) & set(divided[0].reach) for each in columns if each is not divided[0]
    )


def _disk(node: Node) -> float:
    return inf if node.disk_free_bytes is None else node.disk_free_bytes


def _size(group: Group) -> tuple[int, int, int]:
    return group.cpu, group.total_bytes, -group.worth


def without(columns: Set, *gone: Column) -> Set:
    """Leave out some columns."""
    return tuple(column for column in columns if column not in gone)
