"""A node that fills up: what each load finds free at its turn, and what comes of it there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.planner.lab import CPU, Card, Deployment, Node
from labdash.planner.ollama import GIB
from labdash.planner.placing.engine import Rules, rules_of
from labdash.planner.placing.forms import Way
from labdash.planner.placing.old_engine import gathered
from labdash.planner.placing.outcome import Miss, Trial
from labdash.planner.placing.seats import Member, Seat, seats_at
from labdash.planner.placing.spreading import left_in_part, spread
from labdash.planner.placing.stamping import stamped
from labdash.planner.plan import Choice, Limit


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pick:
    """A choice for one replica of a deployment. Two are the same where all three are."""

    deployment: Deployment
    replica: int
    choice: Choice

    def __eq__(self, other: object) -> bool:
        """Compare by identity, so that what was settled is found again at once."""
        return (
            isinstance(other, Pick)
            and self.deployment is other.deployment
            and self.replica == other.replica
            and self.choice is other.choice
        )

    def __hash__(self) -> int:
        """Hash by identity."""
        return hash((id(self.deployment), self.replica, id(self.choice)))

    @property
    def rank(self) -> tuple[object, ...]:
        """Where it stands among others: residents first, then by priority and name."""
        wanted = self.deployment
        return (not wanted.resident, wanted.priority, wanted.name, self.replica)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why picks cannot be together. ``between`` names the deployments that are at odds.

    ``short_bytes`` is what ``device`` lacks, None where memory does not bind.
    """

    limit: Limit
    text: str
    device: str | None = None
    short_bytes: int | None = None
    between: tuple[str, ...] = ()


class Same:
    """An object that is compared by what it is, not by what it holds."""

    __slots__ = ("value",)

    def __init__(self, value: Node) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A node's cards by number, and the rules and seats of its servers by their names."""

    node: Node
    cards: Mapping[int, Card]
    rules: Mapping[str, Rules]
    seats: Mapping[str, Mapping[Member, Seat]]

    def device(self, gpu: int) -> str:
        """Write a GPU."""
        return f"{self.node.name}/{gpu}"

    @property
    def host(self) -> str:
        """Write the RAM."""
        return f"{self.node.name}/{CPU}"


@lru_cache(maxsize=1024)
def site_of(same: Same) -> Site:
    """Look at a node once."""
    node = same.value
    return Site(
        node=node,
        cards={card.index: card for card in node.cards},
        rules={each.name: rules_of(each) for each in node.instances},
        seats={each.name: seats_at(node, each) for each in node.instances},
    )


@dataclass(frozen=True, slots=True)
class Fill:
    """What planned loads hold: of each GPU by its number, and of the RAM."""

    gpus: Mapping[int, int]
    ram: int = 0

    def plus(self, site: Site, choice: Choice) -> "Fill":
        """Add a load."""
        gpus = dict(self.gpus)
        for gpu, size in choice.gpu_bytes.items():
            gpus[gpu] = gpus.get(gpu, 0) + size
        return Fill(gpus, self.ram + ram_of(site, choice))

    def free(self, site: Site, gpu: int) -> int:
        """Tell what a GPU has left for planned models."""
        return site.cards[gpu].room_bytes - self.gpus.get(gpu, 0)


def together(fills: Iterable[Fill]) -> Fill:
    """Add up."""
    gpus: dict[int, int] = {}
    ram = 0
    for fill in fills:
        ram += fill.ram
        for gpu, size in fill.gpus.items():
            gpus[gpu] = gpus.get(gpu, 0) + size
    return Fill(gpus, ram)


def largest(fills: Iterable[Fill]) -> Fill:
    """Take the most of each device: what those hold that take turns."""
    gpus: dict[int, int] = {}
    ram = 0
    for fill in fills:
        ram = max(ram, fill.ram)
        for gpu, size in fill.gpus.items():
            gpus[gpu] = max(gpus.get(gpu, 0), size)
    return Fill(gpus, ram)


def ram_of(site: Site, choice: Choice) -> int:
    """Tell what a choice takes of the RAM; of shared memory all counts."""
    if not site.node.unified:
        return choice.host_bytes
    return choice.host_bytes + sum(choice.gpu_bytes.values())


def is_divided(site: Site, choice: Choice) -> bool:
    """Tell whether the engine decides at the load where its layers go."""
    if choice.form == "gpus" or (choice.form == "partial" and choice.num_gpu is None):
        return True
    return choice.form == "gpu" and choice.main_gpu is None and _sees_several(site, choice)


def _sees_several(site: Site, choice: Choice) -> bool:
    return any(seat.joined for seat in site.seats[choice.instance].values())


def come_out(site: Site, fill: Fill, pick: Pick) -> Choice | Conflict:
    """Tell what becomes of a load where others are loaded already."""
    choice = pick.choice
    if is_divided(site, choice):
        found = _divided(site, fill, choice)
        if isinstance(found, Conflict):
            return replace(found, between=(pick.deployment.name,))
        choice = found
    if (short := _shortage(site, fill, choice)) is not None:
        return replace(short, between=(pick.deployment.name,))
    return _suits(pick, choice) or choice


def _suits(pick: Pick, choice: Choice) -> Conflict | None:
    """Tell what a deployment does not put up with."""
    wanted, name = pick.deployment, pick.deployment.name
    least = wanted.min_tokens_per_s
    if least and (choice.tokens_per_s or 0.0) < least:
        text = f"{name} would be slower than the {least:g} tokens/s that it needs."
        return Conflict(limit="speed", text=text, between=(name,))
    if choice.cpu_layers and not wanted.offload_allowed:
        text = f"Layers of {name} would go to the CPU."
        return Conflict(limit="gpu", text=text, between=(name,))
    return None


def _shortage(site: Site, fill: Fill, choice: Choice) -> Conflict | None:
    """Tell which device is short of memory."""
    for gpu, size in choice.gpu_bytes.items():
        short = size + choice.margin_bytes - fill.free(site, gpu)
        if short > 0 and not is_divided(site, choice):
            return _short(site.device(gpu), "gpu", short)
    room = site.node.ram_room_bytes
    short = 0 if room is None else fill.ram + ram_of(site, choice) - room
    return _short(site.host, "ram", short) if short > 0 else None


def _short(device: str, limit: Limit, short: int) -> Conflict:
    text = f"{device} lacks {short / GIB:.1f} GiB."
    return Conflict(limit=limit, text=text, device=device, short_bytes=short)


def _divided(site: Site, fill: Fill, choice: Choice) -> Choice | Conflict:
    """Divide anew by what is free at this moment."""
    member, seat = _place_of(site, choice)
    cards = tuple(
        replace(card, used_bytes=card.used_bytes + fill.gpus.get(gpu, 0))
        for card, gpu in zip(seat.cards, member.gpus, strict=True)
    )
    ram = None if seat.ram_room_bytes is None else max(0, seat.ram_room_bytes - fill.ram)
    now = replace(seat, cards=cards, ram_room_bytes=ram)
    found = _way_of(now, choice)(Trial(choice.variant, choice.ctx, now))
    if not isinstance(found, Miss):
        return stamped(found, now, member, (choice.download_bytes, choice.moved_bytes))
    if found.limit == "ram":
        return _short(site.host, "ram", found.short_bytes or 1)
    device = site.device(member.gpus[found.card or 0])
    return _short(device, "gpu", found.short_bytes or 1)


def _place_of(site: Site, choice: Choice) -> tuple[Member, Seat]:
    places = [(m, seat) for m, seat in site.seats[choice.instance].items() if m.gpus]
    if choice.main_gpu is None:
        return next((each for each in places if each[1].joined), places[0])
    return next(each for each in places if each[0].main_gpu == choice.main_gpu)


def _way_of(seat: Seat, choice: Choice) -> Way:
    if choice.form == "partial":
        return left_in_part
    return gathered if seat.rules.old else spread
