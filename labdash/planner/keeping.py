"""Decide what is brought back to memory next, and never fight whoever took its place.

Facts of one node in, at most one mend out. A mend loads one model anew, after those on the same
GPUs that the plan loads later where the order matters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from labdash.planner.ollama import MOST_SHARE
from labdash.planner.telling.words import all_of, gib

type Standing = Literal["well", "gone", "amiss", "unknown"]
# Why something stays as it is: "soon" needs nobody, the others are told.
type Cause = Literal["soon", "away", "busy", "hand", "used", "room", "given-up"]

# Two samples: Ollama lists nothing for some seconds while it loads a model anew.
GRACE_S = 10.0
# So long after each mend within an hour before the next. There are no more than that.
PAUSES_S = (0.0, 60.0, 300.0, 900.0)
MOST_MENDS = len(PAUSES_S)
# What lies elsewhere than planned after so many loads will not be led by another.
MOST_MENDS_AMISS = 2
# A driver's figures move by so much while nothing happens.
SLACK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A resident model of the plan in force.

    ``gone``: it is not in memory. ``amiss``: it is, on other devices than planned. ``gpu_bytes``
    are planned and ``holds`` measured, by device. ``margin_bytes`` have to stay free beside it, or
    Ollama moves layers. ``predicted_bytes`` is what Ollama takes it for, ``None`` where it does
    not check. ``mends`` counts within the last hour. ``hand`` says what somebody did to it.
    """

    id: int
    name: str
    instance: str
    order: int
    standing: Standing
    for_s: float = 0.0
    gpu_bytes: Mapping[str, int] = field(default_factory=dict)
    holds: Mapping[str, int] = field(default_factory=dict)
    margin_bytes: int = 0
    predicted_bytes: int | None = None
    mends: int = 0
    mend_age_s: float | None = None
    hand: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether it holds memory."""
        return self.standing in {"well", "amiss"}

    @property
    def most_mends(self) -> int:
        """How often it is loaded anew within an hour."""
        return MOST_MENDS_AMISS if self.standing == "amiss" else MOST_MENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A model in memory that the plan does not place. No devices: nobody tells where it lies.

    ``takes`` are the models of the plan whose weights these are: a server runs them once.
    """

    name: str
    instance: str
    devices: frozenset[str] = frozenset()
    takes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One node. ``free`` is measured, by device, None or absent where nobody measures it.

    ``others`` are programs and their bytes by device. ``away`` says why nothing is done there,
    ``closed`` why nothing is loaded on a device, ``busy`` what is under way, by instance.
    """

    node: str
    kept: tuple[Kept, ...] = ()
    strangers: tuple[Stranger, ...] = ()
    free: Mapping[str, int | None] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    away: str = ""
    closed: Mapping[str, str] = field(default_factory=dict)
    busy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """Load ``kept`` anew, and ``later`` after it: those have to leave first."""

    kept: Kept
    later: tuple[Kept, ...] = ()

    @property
    def all(self) -> tuple[Kept, ...]:
        """Everything that is loaded by it."""
        return (self.kept, *self.later)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Why nothing is done about a model now, in a sentence."""

    cause: Cause
    text: str = ""


def next_mend(place: Place) -> Mend | None:
    """Return the first mend that is due, in the order of loading."""
    for kept in _wrong(place):
        answer = _judge(place, kept)
        if isinstance(answer, Mend):
            return answer
    return None


def why_not(place: Place) -> dict[int, Stay]:
    """Tell of each model that is not as planned, and not mended now, why that is."""
    found = {kept.id: _judge(place, kept) for kept in _wrong(place)}
    return {number: answer for number, answer in found.items() if isinstance(answer, Stay)}


def _wrong(place: Place) -> list[Kept]:
    wrong = [kept for kept in place.kept if kept.standing in {"gone", "amiss"}]
    return sorted(wrong, key=lambda kept: (kept.instance, kept.order, kept.id))


def _judge(place: Place, kept: Kept) -> Mend | Stay:
    """Ask each rule in turn; the first that objects has the word."""
    stay = (
        _away(place, kept)
        or _busy(place, kept)
        or _hand(kept)
        or _used(place, kept)
        or _soon(kept)
        or _given_up(kept)
    )
    return stay or _fitting(place, kept)


def _away(place: Place, kept: Kept) -> Stay | None:
    closed = [place.closed[device] for device in sorted(kept.gpu_bytes) if device in place.closed]
    text = place.away or next(iter(closed), "")
    return Stay(cause="away", text=text) if text else None


def _busy(place: Place, kept: Kept) -> Stay | None:
    text = place.busy.get(kept.instance)
    return Stay(cause="busy", text=text) if text else None


def _hand(kept: Kept) -> Stay | None:
    return Stay(cause="hand", text=kept.hand) if kept.hand else None


def _used(place: Place, kept: Kept) -> Stay | None:
    """Leave a card alone while somebody has a model of their own on it, or the runner."""
    for other in place.strangers:
        if kept.id in other.takes:
            return Stay(cause="used", text=f"{other.name} is in use by its own name.")
        meets = other.devices & kept.gpu_bytes.keys()
        if meets or (other.instance == kept.instance and not other.devices):
            where = all_of(sorted(meets)) or other.instance
            return Stay(cause="used", text=f"{other.name} is in use on {where}.")
    return None


def _soon(kept: Kept) -> Stay | None:
    if kept.for_s < GRACE_S:
        return Stay(cause="soon")
    age_s = kept.mend_age_s
    if kept.mends and kept.mends < kept.most_mends and age_s is not None:
        left_s = PAUSES_S[kept.mends] - age_s
        if left_s > 0:
            text = f"It is brought back in {_span(left_s)}: it went {_times(kept.mends)} already."
            return Stay(cause="soon", text=text)
    return None


def _given_up(kept: Kept) -> Stay | None:
    if kept.mends < kept.most_mends:
        return None
    came = "lies elsewhere again" if kept.standing == "amiss" else "did not stay"
    text = f"It was brought back {_times(kept.mends)} within an hour and {came}."
    return Stay(cause="given-up", text=text)


def _fitting(place: Place, kept: Kept) -> Mend | Stay:
    """Bring it back where there is room, alone or after those that are loaded later."""
    later = tuple(_later(place, kept))
    alone_short = _short(place, kept, ())
    if alone_short is None and not (later and _is_order_needed(place, kept)):
        return Mend(kept=kept)
    if later and _short(place, kept, later) is None:
        if all(_can_be_moved(each) for each in later):
            return Mend(kept=kept, later=later)
        names = all_of(each.name for each in later)
        return Stay(cause="given-up", text=f"{names} would have to be loaded anew once more.")
    if alone_short is None:
        return Mend(kept=kept)
    return Stay(cause="room", text=alone_short)


def _later(place: Place, kept: Kept) -> Iterator[Kept]:
    """Yield what is in memory of its instance and GPUs, and is loaded after it."""
    for other in place.kept:
        is_later = other.instance == kept.instance and other.order > kept.order
        if is_later and other.in_memory and other.gpu_bytes.keys() & kept.gpu_bytes.keys():
            yield other


def _can_be_moved(kept: Kept) -> bool:
    return not kept.hand and _soon_again(kept) and kept.mends < MOST_MENDS


def _soon_again(kept: Kept) -> bool:
    age_s = kept.mend_age_s
    return not kept.mends or age_s is None or age_s >= PAUSES_S[min(kept.mends, MOST_MENDS - 1)]


def _is_order_needed(place: Place, kept: Kept) -> bool:
    """Whether it would come out otherwise, or evict others, beside what is loaded later.

    Over several GPUs, layers are shared by what is free. On one, Ollama evicts where its
    prediction is above its share of that.
    """
    if len(kept.gpu_bytes) != 1:
        return True
    (device,) = kept.gpu_bytes
    free = place.free.get(device)
    if free is None or kept.predicted_bytes is None:
        return False
    return kept.predicted_bytes * 100 > (free + kept.holds.get(device, 0)) * MOST_SHARE


def _short(place: Place, kept: Kept, without: tuple[Kept, ...]) -> str | None:
    """Say on which GPU the room is too small, even ``without`` others; None where it suffices."""
    for device, needed in sorted(kept.gpu_bytes.items()):
        free = place.free.get(device)
        if free is None:
            continue
        own = sum(each.holds.get(device, 0) for each in (kept, *without))
        missing = needed + kept.margin_bytes - free - own
        if missing > SLACK_BYTES:
            who = _holders(place.others.get(device, {}))
            return f"{gib(missing)} are missing on {device}{who}."
    return None


def _holders(others: Mapping[str, int]) -> str:
    """Name the two programs that hold most."""
    largest = sorted(others.items(), key=lambda other: (-other[1], other[0]))[:2]
    told = [f"{name} holds {gib(held)}" for name, held in largest if held > SLACK_BYTES]
    return f": {all_of(told)}" if told else ""


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{-(-seconds // 60):.0f} min"  # noqa: PLR2004 - of a minute
