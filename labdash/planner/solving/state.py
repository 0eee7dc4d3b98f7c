"""Where the search stands: what each node holds, and how much of each GPU is left."""

from collections.abc import Iterator, Sequence

from labdash.planner.loading import Settled
from labdash.planner.solving.problem import Column, Group, Problem, Verdict

type Set = tuple[Column, ...]
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
        self.free = dict(self.rooms)
        self.beside_residents = dict(self.rooms)
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
        if not self.problem.is_known(node, columns):
            laborious = self.spares_labor and _is_laborious(columns)
            if laborious or not self._may_fit(columns):
                return None
            guests = sum(not column.group.resident for column in columns)
            self.tried += SETTLING_EFFORT + guests**3 // 8
        return self.problem.verdict(node, columns)

    def _may_fit(self, columns: Set) -> bool:
        """Add up what each GPU would hold, splits taken as they are in an empty lab."""
        staying: dict[str, int] = {}
        turns: dict[tuple[str, str], int] = {}
        runners = set()
        for column in sorted(columns, key=lambda each: not each.group.resident):
            if column.runner in runners:
                continue
            runners.add(column.runner)
            for device, size in column.loads:
                if column.group.resident:
                    staying[device] = staying.get(device, 0) + size
                else:
                    turn = (device, column.choice.instance)
                    turns[turn] = max(turns.get(turn, 0), size)
        for (device, _), size in turns.items():
            staying[device] = staying.get(device, 0) + size
        return all(size <= self.rooms[device] for device, size in staying.items())

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
        outcome = verdict.outcome
        assert isinstance(outcome, Settled)  # noqa: S101 - only what holds is applied
        name = self.problem.nodes[node].name
        for card in self.problem.nodes[node].cards:
            device = f"{name}/{card.index}"
            room = self.rooms[device]
            self.free[device] = room - outcome.devices.get(device, 0)
            self.beside_residents[device] = room
        for column in columns:
            if column.group.resident:
                for device, size in column.loads:
                    self.beside_residents[device] -= size

    def options(self, wanted: int, *, above: int) -> Iterator[Column]:
        """Return columns of a deployment worth more than ``above`` that may fit, the best first."""
        divided = 0
        for group in self.problem.groups[wanted]:
            if group.worth <= above:
                return
            for column in self.places(group):
                divided += not group.sure
                if group.sure or divided <= MOST_DIVIDED:
                    yield column

    def places(self, group: Group) -> Iterator[Column]:
        """Return a group's columns that may fit, the fullest places first."""
        free = self.free if group.resident else self.beside_residents
        problem = self.problem
        fitting = []
        for position, devices in enumerate(problem.devices(group)):
            least = min([free[device] for device in devices], default=0)
            if least >= group.need_bytes or not group.sure:
                fitting.append((least, position))
            elif self._shares(group, position):
                fitting.append((0, position))
        for _, position in sorted(fitting)[:MOST_PLACES]:
            yield problem.column(group, position)

    def _shares(self, group: Group, position: int) -> bool:
        """Whether a runner is there already that might serve it too."""
        runner = self.problem.runner(group, position)
        node = self.problem.node_numbers[group.profile.members[position].node]
        return any(column.runner == runner for column in self.sets[node])

    def sharing(self, wanted: int) -> Iterator[Column]:
        """Return columns of a deployment that a runner can serve which is there already."""
        problem = self.problem
        for group in problem.groups[wanted]:
            choice = group.profile.choice
            for other in self._running.get(problem.runner(group, 0)[1], ()):
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


def without(columns: Set, *gone: Column) -> Set:
    """Leave out some columns."""
    return tuple(column for column in columns if column not in gone)
