"""The lab as linear rows: what any plan keeps to, so that no plan is lost by them.

Bytes are counted in GiB. What rows cannot say (the order of loads, splits that follow from what
is loaded) is left to be checked afterwards.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

from labdash.planner.lab import CPU, Node
from labdash.planner.problem import Column, Problem

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Row:
    """``lower <= sum of factor times variable <= upper``."""

    entries: Mapping[int, float]
    upper: float
    lower: float = -inf


@dataclass
class Rows:
    """Variables by number: ``tops`` are their upper bounds, ``whole`` which take whole values.

    The first ones are columns, 0 or 1. ``losses`` are what splits come out worse than hoped for,
    in layers on the CPU ("cpu") and in thousandths of a satisfaction ("points"), by node.
    """

    columns: Sequence[Column]
    tops: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    losses: dict[tuple[str, int], int] = field(default_factory=dict)

    def variable(self, top: float, *, whole: bool) -> int:
        """Add a variable from 0 to ``top``."""
        self.tops.append(top)
        self.whole.append(whole)
        return len(self.tops) - 1

    def most(self, entries: Mapping[int, float], upper: float) -> None:
        """Demand that a sum is not more, unless it cannot be anyway."""
        if sum(max(0.0, value) * self.tops[key] for key, value in entries.items()) > upper:
            self.rows.append(Row(entries, upper))


def rows_of(problem: Problem, columns: Sequence[Column]) -> Rows:
    """Write all rows over some columns."""
    made = Rows(columns)
    for _ in columns:
        made.variable(1.0, whole=True)
    numbered = list(enumerate(columns))
    _replicas(made, problem, numbered)
    users = _runners(made, problem, numbered)
    for node in range(len(problem.nodes)):
        _memory(made, problem, node, users[node])
        _disk(made, problem.nodes[node], [u for u in numbered if u[1].node == node])
    _apart(made, problem, numbered)
    for node in sorted({column.node for column in columns if not column.sure}):
        for name in ("cpu", "points"):
            made.losses[name, node] = made.variable(inf, whole=False)
    return made


type Numbered = list[tuple[int, Column]]


def _parted(numbered: Numbered, key: Callable[[Column], object]) -> dict[object, Numbered]:
    found: dict[object, Numbered] = defaultdict(list)
    for number, column in numbered:
        found[key(column)].append((number, column))
    return found


def _replicas(made: Rows, problem: Problem, numbered: Numbered) -> None:
    """No more than wanted, and not two on one instance."""
    for group in _parted(numbered, lambda each: each.wanted).values():
        count = problem.wanted[group[0][1].wanted].replicas
        made.most({number: 1.0 for number, _ in group}, count)
        if count > 1:
            for here in _parted(group, lambda each: each.choice.instance).values():
                made.most({number: 1.0 for number, _ in here}, 1)


@dataclass(frozen=True, slots=True)
class User:
    """What takes memory when ``number`` is 1: a column, or a runner that several share.

    Of one ``key`` only one is 1 at a time.
    """

    number: int
    column: Column
    resident: bool
    key: object


def _runners(made: Rows, problem: Problem, numbered: Numbered) -> list[list[User]]:
    """Return what takes memory, by node. One runner serves a file on an instance."""
    users: list[list[User]] = [[] for _ in problem.nodes]
    for group in _parted(numbered, lambda each: each.runner).values():
        found = users[group[0][1].node]
        if len({column.wanted for _, column in group}) == 1:
            found += [User(n, each, each.group.resident, each.wanted) for n, each in group]
        else:
            found += _shared(made, group)
    return users


def _shared(made: Rows, group: Numbered) -> Iterator[User]:
    """One variable a way to run it; who is served by it makes it run.

    It counts as resident as far as a resident deployment uses it.
    """
    ways = []
    for same in _parted(group, way_of).values():
        way = made.variable(1.0, whole=True)
        ways.append(way)
        for number, _ in same:
            made.most({number: 1.0, way: -1.0}, 0.0)
        stays = [number for number, column in same if column.group.resident]
        if not stays:
            yield User(way, same[0][1], resident=False, key=same[0][1].runner)
            continue
        kept = made.variable(1.0, whole=True)
        made.most({kept: 1.0, way: -1.0}, 0.0)
        for number in stays:
            made.most({number: 1.0, kept: -1.0}, 0.0)
        yield User(kept, same[0][1], resident=True, key=same[0][1].runner)
    made.most(dict.fromkeys(ways, 1.0), 1.0)


def way_of(column: Column) -> tuple[object, ...]:
    """Tell how a runner runs: deployments share it only where that is the same."""
    choice = column.choice
    return (
        choice.ctx, choice.form, choice.num_gpu, choice.main_gpu, choice.num_batch,
        tuple(sorted(choice.layers)),
    )  # fmt: skip


def _memory(made: Rows, problem: Problem, node: int, users: Sequence[User]) -> None:
    """Residents add up, and of what takes turns on an instance the largest."""
    here = problem.nodes[node]
    for card in here.cards:
        device = f"{here.name}/{card.index}"
        sized = _sized(users, partial(_on, device=device))
        margin = min((user.column.choice.margin_bytes for user, _ in sized), default=0)
        _fits(made, sized, card.room_bytes - margin)
    for gpus in {u.column.choice.gpu_devices for u in users if not u.column.sure}:
        room = sum(problem.rooms[device] for device in gpus)
        _fits(made, _sized(users, partial(_over, devices=gpus)), room)
    if here.ram_room_bytes is not None:
        _fits(made, _sized(users, _ram(here)), here.ram_room_bytes)
    for name, group in _by_instance(users).items():
        _loaded(made, group, problem.most_loaded[name])


# A split over several GPUs takes somewhat less where one of them is left out.
SURE_PART = 0.95


def _on(column: Column, device: str) -> int:
    return column.choice.bytes.get(device, 0) if column.sure else 0


def _over(column: Column, devices: Sequence[str]) -> float:
    held = sum(column.choice.bytes.get(device, 0) for device in devices)
    return held if column.sure else held * SURE_PART


def _ram(node: Node) -> Callable[[Column], float]:
    host = f"{node.name}/{CPU}"

    def taken(column: Column) -> float:
        if node.unified:
            return sum(column.choice.bytes.values())
        return column.choice.bytes.get(host, 0) * (1.0 if column.sure else 0.0)

    return taken


type Sized = list[tuple[User, float]]


def _sized(users: Iterable[User], size: Callable[[Column], float]) -> Sized:
    return [(user, taken / GIB) for user in users if (taken := size(user.column))]


def _fits(made: Rows, sized: Sized, room_bytes: float) -> None:
    """Limit the sum of residents and of the largest of each instance's others."""
    room = max(0.0, room_bytes / GIB)
    entries = {user.number: size for user, size in sized if user.resident}
    turns: dict[str, Sized] = defaultdict(list)
    for user, size in sized:
        if not user.resident:
            turns[user.column.choice.instance].append((user, size))
    for group in turns.values():
        turn = made.variable(room, whole=False)
        entries[turn] = 1.0
        for same in _one_of(group):
            made.most({**{user.number: size for user, size in same}, turn: -1.0}, 0.0)
    if entries:
        made.most(entries, room)


def _one_of(sized: Sized) -> Iterable[Sized]:
    """Part what takes turns by what excludes itself: one runner, or one deployment's columns."""
    found: dict[object, Sized] = defaultdict(list)
    for user, size in sized:
        found[user.key].append((user, size))
    return found.values()


def _by_instance(users: Sequence[User]) -> Mapping[str, list[User]]:
    found: dict[str, list[User]] = defaultdict(list)
    for user in users:
        found[user.column.choice.instance].append(user)
    return found


def _loaded(made: Rows, users: Sequence[User], most: int) -> None:
    """Keep to what an instance keeps loaded; what takes turns counts as one."""
    entries = {user.number: 1.0 for user in users if user.resident}
    others = [(user, 1.0) for user in users if not user.resident]
    if others:
        turn = made.variable(1.0, whole=False)
        entries[turn] = 1.0
        for same in _one_of(others):
            made.most({**{user.number: 1.0 for user, _ in same}, turn: -1.0}, 0.0)
    made.most(entries, most)


def _disk(made: Rows, node: Node, numbered: Numbered) -> None:
    """Download each file once to a node, where there is room for it."""
    if node.disk_free_bytes is None:
        return
    entries: dict[int, float] = {}
    fetched = [(n, column) for n, column in numbered if column.choice.download_bytes]
    for group in _parted(fetched, lambda each: each.runner[1]).values():
        file = made.variable(1.0, whole=False)
        entries[file] = min(column.choice.download_bytes for _, column in group) / GIB
        for same in _parted(group, lambda each: (each.wanted, each.choice.instance)).values():
            made.most({**{number: 1.0 for number, _ in same}, file: -1.0}, 0.0)
    made.most(entries, node.disk_free_bytes / GIB)


def _apart(made: Rows, problem: Problem, numbered: Numbered) -> None:
    """Let those that are kept apart share no device, where a device holds each once at most."""
    names = {each.name: number for number, each in enumerate(problem.wanted)}
    pairs = {
        (min(pair), max(pair))
        for number, each in enumerate(problem.wanted)
        for other in each.keep_apart
        if other in names and names[other] != number
        for pair in [(number, names[other])]
    }
    kept = {number for pair in pairs for number in pair if problem.wanted[number].replicas == 1}
    at: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, column in numbered:
        if column.wanted in kept and column.sure:
            for device in column.choice.devices:
                at[column.wanted, device].append(number)
    for one, other in sorted(pairs):
        for device in sorted(device for wanted, device in at if wanted == one):
            both = [*at[one, device], *at.get((other, device), ())]
            if (other, device) in at:
                made.most(dict.fromkeys(both, 1.0), 1.0)
