"""The lab as linear rows: what any plan keeps to, so that no plan is lost by them.

Bytes are counted in GiB. What rows cannot say (the order of loads, splits that follow from what
is loaded) is left to be checked afterwards.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from labdash.planner.lab import CPU, Node
from labdash.planner.loading import way_of
from labdash.planner.solving import turnstile
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.rows import GIB, Rows


def rows_of(problem: Problem, columns: Sequence[Column]) -> Rows:
    """Write all rows over some columns."""
    made = Rows(columns)
    for _ in columns:
        made.variable(1.0, whole=True)
    numbered = list(enumerate(columns))
    _replicas(made, problem, numbered)
    _runners(made, numbered)
    for node, here in sorted(_parted(numbered, lambda each: each.node).items()):
        _memory(made, problem, node, here)
        _disk(made, problem.nodes[node], here)
    _apart(made, problem, numbered)
    for node in sorted({column.node for column in columns if not column.sure}):
        for name in ("cpu", "points"):
            made.losses[name, node] = made.variable(inf, whole=False)
    return made


type Numbered = list[tuple[int, Column]]


def _parted[Key](numbered: Numbered, key: Callable[[Column], Key]) -> dict[Key, Numbered]:
    found: dict[Key, Numbered] = defaultdict(list)
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


def _runners(made: Rows, numbered: Numbered) -> None:
    """One runner serves a file on an instance, in one way; several deployments may share that."""
    for users in _parted(numbered, lambda each: each.runner).values():
        if len({column.wanted for _, column in users}) == 1:
            continue
        entries: dict[int, float] = {}
        for same in _parted(users, lambda each: way_of(each.choice)).values():
            if len(same) == 1:
                entries[same[0][0]] = 1.0
                continue
            way = made.variable(1.0, whole=False)
            entries[way] = 1.0
            for number, _ in same:
                made.floor(way, {number: 1.0})
        made.most(entries, 1.0)


def _memory(made: Rows, problem: Problem, node: int, numbered: Numbered) -> None:
    """Residents add up, and of what takes turns on an instance the largest."""
    here = problem.nodes[node]
    for card in here.cards:
        device = f"{here.name}/{card.index}"
        sized = _sized(numbered, partial(_on, device=device))
        margin = min((column.choice.margin_bytes for _, column, _ in sized), default=0)
        _fits(made, sized, (card.room_bytes - margin) / GIB)
    for gpus in sorted(
        {column.reach for _, column in numbered if not column.sure and column.reach}
    ):
        room = sum(problem.rooms[device] for device in gpus)
        _fits(made, _sized(numbered, partial(_over, devices=gpus)), room / GIB)
    if here.ram_room_bytes is not None:
        _fits(made, _sized(numbered, _ram(here)), here.ram_room_bytes / GIB)
    sharing = _sharing(numbered)
    for name, group in _parted(numbered, lambda each: each.choice.instance).items():
        turnstile.add_rows(made, problem.rules[name], problem.rooms, group, sharing)
        _fits(
            made,
            [(number, column, 1.0) for number, column in group],
            problem.rules[name].most_loaded,
        )


def _sharing(numbered: Numbered) -> dict[tuple[str, str], int]:
    """Count the deployments that could use each runner."""
    found = _parted(numbered, lambda each: each.runner)
    return {runner: len({each.wanted for _, each in users}) for runner, users in found.items()}


# A split over several GPUs takes somewhat less where one of them is left out.
SURE_PART = 0.95


def _on(column: Column, device: str) -> int:
    return column.choice.bytes.get(device, 0) if column.sure else 0


def _over(column: Column, devices: Sequence[str]) -> float:
    if column.sure:
        return sum(size for device, size in column.loads if device in devices)
    held = sum(size for _, size in column.loads)
    return held * SURE_PART if set(column.reach) <= set(devices) else 0


def _ram(node: Node) -> Callable[[Column], float]:
    host = f"{node.name}/{CPU}"

    def taken(column: Column) -> float:
        if node.unified:
            return sum(column.choice.bytes.values())
        return column.choice.bytes.get(host, 0) * (1.0 if column.sure else 0.0)

    return taken


type Sized = list[tuple[int, Column, float]]


def _sized(numbered: Numbered, size: Callable[[Column], float]) -> Sized:
    return [(number, column, taken / GIB) for number, column in numbered if (taken := size(column))]


def _fits(made: Rows, sized: Sized, room: float) -> None:
    """Limit the sum of residents and of the largest of each instance's others.

    A runner that several deployments share counts once.
    """
    room = max(0.0, room)
    entries: dict[int, float] = {}
    turns: dict[str, int] = {}
    for runner, group in sorted(_by(sized, lambda each: each.runner).items()):
        staying = _by([each for each in group if each[1].group.resident], _wanted)
        guests = _by([each for each in group if not each[1].group.resident], _wanted)
        held: dict[int, float] = {}
        if len(staying) == 1 and not guests:
            entries |= {number: size for each in staying.values() for number, _, size in each}
        elif staying:
            shared = made.variable(room, whole=False)
            entries[shared] = 1.0
            held[shared] = -1.0
            for same in staying.values():
                made.floor(shared, {number: size for number, _, size in same})
        for same in guests.values():
            if runner[0] not in turns:
                turns[runner[0]] = made.variable(room, whole=False)
            made.floor(turns[runner[0]], {number: size for number, _, size in same} | held)
    made.most(entries | dict.fromkeys(turns.values(), 1.0), room)


def _wanted(column: Column) -> int:
    return column.wanted


def _by[Key](sized: Sized, key: Callable[[Column], Key]) -> dict[Key, Sized]:
    found: dict[Key, Sized] = defaultdict(list)
    for each in sized:
        found[key(each[1])].append(each)
    return found


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
            made.floor(file, {number: 1.0 for number, _ in same})
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
