"""Rows for what Ollama compares before a load, as far as they are linear.

Before each load of a server but its first, what Ollama takes the model for is compared with 80 %
of what is left of the GPU. Of the residents on a GPU that are loaded one after the other, take
those whose ``delay`` (what they want to see free beyond their own bytes) is at least some bound:
the last of them finds all others there, so their bytes and that bound stay within the room.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labdash.planner.ollama import MOST_SHARE
from labdash.planner.placing.engine import Rules
from labdash.planner.placing.eviction import is_compared, wanted_bytes
from labdash.planner.solving.problem import Column
from labdash.planner.solving.rows import GIB, Row, Rows

# Bounds that are tried on a GPU: more say little more.
MOST_BOUNDS = 5


@dataclass(frozen=True, slots=True)
class Queued:
    """A column as it is compared, in GiB."""

    number: int
    column: Column
    size: float
    wanted: float
    users: int

    @property
    def sure_size(self) -> float:
        """What it takes at least, whoever else uses the same runner."""
        return self.size / self.users

    @property
    def delay(self) -> float:
        """What it wants to see free beyond its own bytes."""
        return self.wanted - self.size


def add_rows(
    made: Rows,
    rules: Rules,
    rooms: Mapping[str, int],
    columns: Sequence[tuple[int, Column]],
    sharing: Mapping[tuple[str, str], int],
) -> None:
    """Add the rows of one server.

    What several deployments may share counts for each of them as its part of their number.
    """
    by_gpu: dict[str, list[Queued]] = defaultdict(list)
    for number, column in columns:
        if column.sure and is_compared(column.choice, rules):
            for device, size in column.loads:
                wanted = wanted_bytes(column.choice) * 100 / MOST_SHARE
                users = sharing[column.runner]
                by_gpu[device].append(Queued(number, column, size / GIB, wanted / GIB, users))
    kept = {column.runner for _, column in columns if column.group.resident}
    firsts = {gpu: made.variable(1.0, whole=True) for gpu in sorted(by_gpu)}
    made.most(dict.fromkeys(firsts.values(), 1.0), 1.0)
    for gpu, queued in sorted(by_gpu.items()):
        room = rooms[gpu] / GIB
        staying = [each for each in queued if each.column.group.resident]
        # A guest that a resident's runner may serve is not compared then.
        guests = [each for each in queued if each.column.runner not in kept]
        _in_line(made, room, staying, firsts[gpu], rules.most_loaded)
        _beside(made, room, staying, guests)


def _in_line(made: Rows, room: float, staying: Sequence[Queued], first: int, most: int) -> None:
    """Residents: ``first`` is 1 where the server's first load is on this GPU."""
    for bound in _bounds(staying):
        some = [each for each in staying if each.delay >= bound]
        margin = min(each.column.choice.margin_bytes for each in some) / GIB
        if bound <= margin:
            continue
        alone = made.variable(1.0, whole=True)
        made.most({alone: 1.0, first: -1.0}, 0.0)
        ones = {each.number: 1.0 / each.users for each in some}
        made.most(ones | {alone: most - 1.0}, float(most))
        sizes = {each.number: each.sure_size for each in some}
        after = max(0.0, room - bound)
        more = max(0.0, room - margin - after)
        made.unless((alone, first), Row(sizes | {alone: -more}, after))


def _bounds(staying: Sequence[Queued]) -> list[float]:
    delays = sorted({each.delay for each in staying})
    step = max(1, len(delays) // MOST_BOUNDS)
    return delays[::step]


def _beside(made: Rows, room: float, staying: Sequence[Queued], guests: Sequence[Queued]) -> None:
    """Guests: each is compared where residents are."""
    if not staying or not guests:
        return
    turn = made.variable(room, whole=False)
    by_wanted: dict[int, dict[int, float]] = defaultdict(dict)
    for each in guests:
        by_wanted[each.column.wanted][each.number] = max(each.size, min(each.wanted, room))
    for entries in by_wanted.values():
        made.floor(turn, entries)
    made.most({each.number: each.sure_size for each in staying} | {turn: 1.0}, room)
