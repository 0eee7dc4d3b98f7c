"""How fast pulls usually are, by the ones that went through without a break."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from labdash.models import PullJob, PullSource, PullState

# The newest pulls are read, and of a kind so many count.
MOST_ROWS = 300
NEWEST = 10
# In less time and of less data the start counts more than the line.
LEAST_BYTES = 100 * 2**20
LEAST_S = 2.0

# Where to, and where from: the source and the node that gives, if one does.
type Road = tuple[int | None, str, int | None]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """``pulls`` it is the median of; ``limited`` where a limit is lower than what was seen.

    ``borrowed``: it was seen on other machines of the lab.
    """

    bytes_per_s: float
    pulls: int
    borrowed: bool = False
    limited: bool = False


def read_paces() -> Mapping[Road, Pace]:
    """Return what was seen, of each node and of the lab in all (``None``)."""
    rows = PullJob.objects.filter(
        state=PullState.INSTALLED, attempt=1, total_bytes__gte=LEAST_BYTES
    )
    rows = rows.exclude(started_at=None).exclude(finished_at=None).order_by("-finished_at")
    told = rows.values_list(
        "instance__node_id", "source", "source_node_id", "total_bytes", "started_at", "finished_at"
    )
    return paces_of(
        ((node, source, giver), (size or 0) / seconds)
        for node, source, giver, size, began, ended in told[:MOST_ROWS]
        if began and ended and (seconds := (ended - began).total_seconds()) >= LEAST_S
    )


def paces_of(seen: Iterable[tuple[Road, float]]) -> Mapping[Road, Pace]:
    """Take the median of the newest of each kind; ``seen`` begins with the newest."""
    found: defaultdict[Road, list[float]] = defaultdict(list)
    for (node, source, giver), bytes_per_s in seen:
        for road in {(node, source, giver), (node, source, None), (None, source, None)}:
            found[road].append(bytes_per_s)
    return {
        road: Pace(bytes_per_s=median(speeds[:NEWEST]), pulls=len(speeds[:NEWEST]))
        for road, speeds in found.items()
    }


def pace_of(
    paces: Mapping[Road, Pace],
    node: int,
    source: str,
    giver: int | None = None,
    *,
    limits: Iterable[int | None] = (),
) -> Pace | None:
    """Return how fast a pull to a node will be, ``None`` where nothing like it was seen.

    The line to the internet is the same for all machines of a lab.
    """
    found = paces.get((node, source, giver)) or paces.get((node, source, None))
    if found is None and source == PullSource.INTERNET and (lab := paces.get((None, source, None))):
        found = Pace(bytes_per_s=lab.bytes_per_s, pulls=lab.pulls, borrowed=True)
    lowest = min((each for each in limits if each), default=None)
    if lowest is None or (found and found.bytes_per_s <= lowest):
        return found
    return Pace(bytes_per_s=lowest, pulls=found.pulls if found else 0, limited=True)
