"""Decide the next step of the items of a plan on one node. Pure: facts in, a step out.

Downloads and names are made side by side; models are loaded one at a time on a node, each
instance in its order. What has to leave leaves first.
"""

from dataclasses import dataclass
from typing import Literal

from labdash.models import ITEM_OVER, ItemState, ItemWish

# Small files are written, on a disk that may have to wake first.
QUIET_AFTER_S = 200.0
# Before the second and the third try of a step, and of no more.
PAUSES_S = (15.0, 60.0)
MOST_TRIES = len(PAUSES_S) + 1

type Job = Literal["none", "active", "done", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a plan as it stands. ``devices`` are where the plan has it.

    ``pull`` and ``load`` tell of its jobs, ``why`` what a job that failed said. ``sent_age_s``
    counts from the last word about an order to make or delete a name, None while there is none.
    ``in_memory`` is by the name that it is served under; ``is_other``: with another context, or
    elsewhere than planned. ``memory`` are the devices that it holds, None where nobody tells.
    """

    id: int
    name: str
    model: str
    instance: str
    wish: ItemWish = ItemWish.SERVE
    state: ItemState = ItemState.WAITING
    reason: str = ""
    load_order: int = 1
    is_loaded: bool = True
    is_alias: bool = True
    devices: frozenset[str] = frozenset()
    is_installed: bool = True
    is_listed: bool = False
    pull: Job = "none"
    load: Job = "none"
    why: str = ""
    sent_age_s: float | None = None
    attempts: int = 0
    wait_s: float = 0.0
    cleared: bool = False
    in_memory: bool = False
    is_other: bool = False
    memory: frozenset[str] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is done about it."""
        return self.state in ITEM_OVER

    @property
    def is_busy(self) -> bool:
        """Whether its instance loads or unloads it just now."""
        return self.load == "active" or (
            self.wish == ItemWish.UNLOAD and self.sent_age_s is not None
        )

    @property
    def is_in_the_way(self) -> bool:
        """Whether what it left in memory has to go before others are loaded."""
        return not self.cleared and self.in_memory and self.is_other and not self.is_over


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node with its items. ``waits`` says why nothing is done there now, by instance too.

    ``passed`` are items of which a step could not be taken: they wait for the next tick.
    """

    waits: str = ""
    down: tuple[tuple[str, str], ...] = ()
    items: tuple[Item, ...] = ()
    passed: frozenset[int] = frozenset()

    def why_waiting(self, item: Item) -> str:
        """Say why nothing can be done for an item, nothing where something can."""
        return self.waits or dict(self.down).get(item.instance, "")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do with one item."""

    item: Item


@dataclass(frozen=True, kw_only=True)
class Pull(Step):
    """Ask for a download, or join one that is under way."""


@dataclass(frozen=True, kw_only=True)
class Create(Step):
    """Send the order that makes its name."""


@dataclass(frozen=True, kw_only=True)
class Delete(Step):
    """Send the order that unloads and deletes its name."""


@dataclass(frozen=True, kw_only=True)
class Unload(Step):
    """Free the memory that it holds."""


@dataclass(frozen=True, kw_only=True)
class Load(Step):
    """Bring it into memory, to stay."""


@dataclass(frozen=True, kw_only=True)
class Move(Step):
    """Go on to a state. ``cleared`` marks that nothing of it stands in the way any more."""

    state: ItemState
    reason: str = ""
    cleared: bool = False


@dataclass(frozen=True, kw_only=True)
class Again(Step):
    """Repeat the step after a pause, and say why."""

    reason: str
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class Explain(Step):
    """Say why it waits."""

    reason: str


def rest_s(attempts: int) -> float | None:
    """Return how long a step rests after so many earlier tries, None after the last."""
    return PAUSES_S[attempts] if attempts < MOST_TRIES - 1 else None


def again(why: str) -> str:
    """Say that a step is repeated."""
    return f"{why} It is tried again."


def next_step(place: Place) -> Step | None:
    """Return the first step that applies, or ``None`` when all is as it should be."""
    for item in _in_order(place):
        step = _of(place, item)
        if step is not None:
            return step
    return None


def _in_order(place: Place) -> list[Item]:
    """Put first what frees memory, then what is loaded first."""
    return sorted(
        (item for item in place.items if not item.is_over and item.id not in place.passed),
        key=lambda item: (item.wish == ItemWish.SERVE, item.load_order, item.instance, item.id),
    )


def _of(place: Place, item: Item) -> Step | None:
    ended = _after_job(item)
    if ended is not None:
        return ended
    if item.load == "active" or item.pull == "active":
        return None
    if waits := place.why_waiting(item):
        return _explain(item, waits)
    if item.wait_s > 0:
        return None
    if item.wish == ItemWish.UNLOAD:
        return _leave(item)
    rules = {
        ItemState.WAITING: _begin,
        ItemState.PULLING: _begin,
        ItemState.CREATING: _name,
        ItemState.LOADING: _take_turn,
        ItemState.UNLOADING: _take_turn,
    }
    return rules[item.state](place, item)


def _after_job(item: Item) -> Step | None:
    """Go on where a job of an item has ended."""
    if item.state == ItemState.PULLING and item.pull in {"done", "failed", "cancelled"}:
        if item.pull == "done":
            return Move(item=item, state=ItemState.CREATING)
        why = item.why or "The download was cancelled."
        return Move(item=item, state=ItemState.FAILED, reason=why)
    if item.load in {"none", "active"}:
        return None
    if item.state == ItemState.UNLOADING:
        return _unloaded(item)
    if item.load == "done":
        return Move(item=item, state=ItemState.READY)
    return _failed(item, item.why or "The load was cancelled.", once=item.load == "cancelled")


def _unloaded(item: Item) -> Step:
    if item.wish == ItemWish.SERVE:
        return Move(item=item, state=ItemState.WAITING, cleared=True)
    if item.load == "done":
        return Move(item=item, state=ItemState.READY)
    return _failed(item, item.why or "The unload was cancelled.", once=item.load == "cancelled")


def _failed(item: Item, why: str, *, once: bool = False) -> Step:
    """Try again later, or leave it."""
    pause = None if once else rest_s(item.attempts)
    if pause is None:
        return Move(item=item, state=ItemState.FAILED, reason=why)
    return Again(item=item, reason=again(why), pause_s=pause)


def _leave(item: Item) -> Step | None:
    """End what the plan ends: a name of LabDash's own goes with what was loaded by it."""
    if item.is_alias and (item.is_listed or item.in_memory):
        return _order(item, Delete(item=item))
    if item.in_memory and item.state == ItemState.WAITING:
        return Unload(item=item)
    return Move(item=item, state=ItemState.READY)


def _begin(_place: Place, item: Item) -> Step | None:
    if not item.is_loaded and item.is_in_the_way:
        # It loads on demand, and nobody would load it anew where the plan wants it.
        return Unload(item=item)
    if not item.is_installed:
        return Pull(item=item)
    return Move(item=item, state=ItemState.CREATING)


def _name(_place: Place, item: Item) -> Step | None:
    return _order(item, Create(item=item))


def _order(item: Item, step: Step) -> Step | None:
    """Send an order; of one that nobody answers try again."""
    if item.sent_age_s is None:
        return step
    if item.sent_age_s <= QUIET_AFTER_S:
        return None
    return _failed(item, "Its node took the order and did not say what became of it.")


def _take_turn(place: Place, item: Item) -> Step | None:
    """Load an item once everything before it is done and nothing stands in its way."""
    if not item.is_loaded:
        return Move(item=item, state=ItemState.READY)
    others = [other for other in place.items if other.id != item.id]
    for other in others:
        if other.is_busy:
            return _explain(item, f"Waits for {other.name}: one at a time on a node.")
        if _comes_first(place, other, item):
            return _explain(item, f"Waits for {other.name}: models are loaded in order.")
    return _clear(item, others) or Load(item=item)


def _comes_first(place: Place, other: Item, item: Item) -> bool:
    if other.is_over or place.why_waiting(other):
        return False
    if other.wish == ItemWish.UNLOAD:
        return True
    is_before = other.instance == item.instance and other.load_order < item.load_order
    return is_before and other.is_loaded and bool(other.devices & item.devices)


def _clear(item: Item, others: list[Item]) -> Step | None:
    """Free what planned models hold otherwise than planned, where this one is to go."""
    if item.is_in_the_way:
        return Unload(item=item)
    for other in others:
        if other.is_in_the_way and (other.memory is None or other.memory & item.devices):
            return Unload(item=other)
    return None


def _explain(item: Item, reason: str) -> Step | None:
    return Explain(item=item, reason=reason) if item.reason != reason else None
