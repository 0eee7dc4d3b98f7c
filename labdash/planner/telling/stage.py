"""Other ways to serve one deployment, each tried beside the rest of a plan."""

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from labdash.planner.lab import CPU, Card, Deployment, Instance, Lab, Node, Variant
from labdash.planner.loading import Conflict, Pick, Settled, settle
from labdash.planner.placing.forms import SHARES, Way, most_of_it, on_cpu
from labdash.planner.placing.forms import whole as whole_on_one
from labdash.planner.placing.inventory import download_bytes, is_installed
from labdash.planner.placing.old_engine import gathered
from labdash.planner.placing.outcome import Miss, Outcome, Trial
from labdash.planner.placing.seats import Member, Seat, seats_at
from labdash.planner.placing.spreading import left_in_part, spread
from labdash.planner.placing.stamping import stamped
from labdash.planner.placing.ways import suits, ways_at
from labdash.planner.plan import Choice, Placement, Plan
from labdash.planner.telling.words import all_of, device_name, gib

type Key = tuple[str, int]


class Place(NamedTuple):
    """Where a load may go."""

    node: Node
    instance: Instance
    member: Member
    seat: Seat


class Stage:
    """A lab and a plan of it. Nothing here changes either."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        self.lab = lab
        self.plan = plan
        self._nodes = {node.name: node for node in lab.nodes}
        self._on: dict[str, list[Placement]] = {node.name: [] for node in lab.nodes}
        for placement in plan.placements:
            self._on[placement.choice.node].append(placement)
        self._places: dict[str, tuple[Place, ...]] = {}
        self._cards = {
            f"{node.name}/{card.index}": card for node in lab.nodes for card in node.cards
        }

    def node(self, name: str) -> Node:
        """Return a node."""
        return self._nodes[name]

    def card(self, device: str) -> Card | None:
        """Return a card, None for a CPU."""
        return self._cards.get(device)

    def places_at(self, instance: str) -> tuple[Place, ...]:
        """Return the places of one server."""
        if instance not in self._places:
            node, server = self.lab.homes[instance]
            self._places[instance] = tuple(
                Place(node, server, member, seat) for member, seat in seats_at(node, server).items()
            )
        return self._places[instance]

    def lack(
        self, deployment: Deployment, replica: int, choice: Choice, *, without: Collection[Key] = ()
    ) -> Conflict | None:
        """Tell what a choice surely lacks of memory beside what is planned, by adding up."""
        out = {(deployment.name, replica), *without}
        if choice.form not in ("gpu", "partial"):
            return None
        for device in choice.gpu_devices:
            card = self._cards[device]
            present = self.in_the_way(device, deployment, choice.instance, out)
            needed = choice.bytes[device] + choice.margin_bytes
            short = needed + sum(each.choice.bytes[device] for each in present) - card.room_bytes
            if short > 0:
                names = tuple(dict.fromkeys(each.deployment.name for each in present))
                return Conflict(
                    limit="gpu", device=device, short_bytes=short, text="", between=names
                )
        return None

    def attempt(
        self,
        deployment: Deployment,
        replica: int,
        choice: Choice,
        *,
        without: Collection[Key] = (),
    ) -> Settled | Conflict:
        """Tell what comes of a choice beside all else that is planned, ``without`` left out."""
        out = {(deployment.name, replica), *without}
        here = [each for each in self._on[choice.node] if key_of(each) not in out]
        if any(_is_copy(each, deployment, choice) for each in here):
            return _copy_conflict(deployment, choice)
        surely = self.lack(deployment, replica, choice, without=without)
        if surely is not None:
            return surely
        picks = [
            Pick(deployment=each.deployment, replica=each.replica, choice=each.choice)
            for each in here
        ]
        picks.append(Pick(deployment=deployment, replica=replica, choice=choice))
        return settle(self._nodes[choice.node], picks)

    def fitted(
        self,
        deployment: Deployment,
        replica: int,
        choice: Choice,
        *,
        without: Collection[Key] = (),
    ) -> Choice | None:
        """Return a choice as it comes out beside all else, None where it does not."""
        found = self.attempt(deployment, replica, choice, without=without)
        if isinstance(found, Conflict):
            return None
        for load in found.loads:
            if load.pick.choice is choice and load.pick.deployment is deployment:
                return load.choice
        return choice

    def other(
        self, choice: Choice, *, variant: Variant, ctx: int, whole: bool = False
    ) -> Choice | Miss:
        """Return what a choice would be with another file or context in the same place.

        ``whole``: with all layers on GPUs.
        """
        for place in self.places_at(choice.instance):
            if _is_place(choice, place):
                way = _whole_way(place.seat) if whole else _way(choice, place.seat)
                return load_at(place, variant, ctx, way)
        return Miss(limit="gpu")

    def in_the_way(
        self, device: str, deployment: Deployment, instance: str, out: Collection[Key]
    ) -> list[Placement]:
        """Return what is in memory together with a deployment: on-demand ones take turns."""
        waiting = set() if deployment.resident else {instance}
        found = []
        for each in self.beside(device, but=out):
            if each.deployment.resident:
                found.append(each)
            elif each.choice.instance not in waiting:
                waiting.add(each.choice.instance)
                found.append(each)
        return found

    def told_beside(self, device: str, placement: Placement) -> str:
        """Write what else is planned on a device, nothing where that is nothing."""
        names = dict.fromkeys(
            each.deployment.name for each in self.beside(device, but={key_of(placement)})
        )
        return f" beside {all_of(names)}" if names else ""

    def told_lack(self, placement: Placement, conflict: Conflict) -> str | None:
        """Say what a device lacks for a placement, None where memory does not bind."""
        short, device = lacked_bytes(conflict), conflict.device
        if short is None or device is None:
            return None
        beside = self.told_beside(device, placement)
        return f"{device_name(device)} lacks {gib(short)} for it{beside}."

    def beside(self, device: str, *, but: Collection[Key] = ()) -> list[Placement]:
        """Return what else is planned on a device, the largest first."""
        found = [
            each
            for each in self._on.get(device.rpartition("/")[0], ())
            if each.choice.bytes.get(device) and not each.shares and key_of(each) not in but
        ]
        return sorted(found, key=lambda each: -each.choice.bytes[device])


def loads_at(place: Place, deployment: Deployment, variant: Variant, ctx: int) -> Iterator[Choice]:
    """Yield what a deployment admits of one file and context in a place."""
    yield from _loads(place, deployment, (variant, ctx), ways_at(deployment, place.seat))


def split_at(place: Place, deployment: Deployment, variant: Variant, ctx: int) -> Iterator[Choice]:
    """Yield what has some or all layers of one file on the CPU, by request."""
    ways = (most_of_it, *SHARES) if place.seat.cards else (on_cpu,)
    yield from _loads(place, deployment, (variant, ctx), () if place.seat.joined else ways)


def _loads(
    place: Place, deployment: Deployment, load: tuple[Variant, int], ways: Iterable[Way]
) -> Iterator[Choice]:
    variant, ctx = load
    if not suits(deployment, variant, place.seat):
        return
    least = deployment.min_tokens_per_s or 0.0
    for way in ways:
        found = load_at(place, variant, ctx, way)
        if isinstance(found, Choice) and (not least or (found.tokens_per_s or 0.0) >= least):
            yield found


def load_at(place: Place, variant: Variant, ctx: int, way: Way) -> Choice | Miss:
    """Tell what comes of a load in a place, the same object each time."""
    found = way(Trial(variant, ctx, place.seat))
    if isinstance(found, Miss):
        return found
    there = is_installed(variant, place.instance)
    return _stamped(found, place.seat, place.member, 0 if there else download_bytes(variant))


@lru_cache(maxsize=65_536)
def _stamped(outcome: Outcome, seat: Seat, member: Member, download: int) -> Choice:
    return stamped(outcome, seat, member, (download, 0))


def lacked_bytes(conflict: Conflict) -> int | None:
    """Tell the memory that is missing on a device, None where something else binds.

    What Ollama evicts by is its own prediction: no memory is missing then.
    """
    if conflict.limit not in ("gpu", "ram") or conflict.device is None:
        return None
    return conflict.short_bytes


def distance(conflict: Conflict) -> tuple[bool, int]:
    """Tell how near a conflict comes to none: what lacks memory by how much, then all others."""
    short = lacked_bytes(conflict)
    return short is None, short or 0


def key_of(placement: Placement) -> Key:
    """Name one replica of a deployment."""
    return placement.deployment.name, placement.replica


def wished_ctx(placement: Placement) -> int:
    """Tell the context that was wished, or the longest that the model was trained with."""
    wish, trained = placement.deployment.ctx_wish, placement.choice.variant.model.shape.ctx_train
    return min(wish, trained) if trained else wish


def where(choice: Choice) -> str:
    """Write the devices of a choice."""
    devices = sorted(choice.gpu_devices) or [f"{choice.node}/{CPU}"]
    return all_of(device_name(each) for each in devices)


def _is_place(choice: Choice, place: Place) -> bool:
    """Whether a choice is of a place: all GPUs of a server are one, whichever it uses of them."""
    held = set(choice.gpu_devices)
    devices = {f"{place.node.name}/{gpu}" for gpu in place.member.gpus}
    if place.seat.joined:
        return choice.main_gpu is None and bool(held) and held <= devices
    several = choice.main_gpu is None and choice.form == "gpus"
    return devices == held and not several


def _way(choice: Choice, seat: Seat) -> Way:
    if choice.form == "cpu":
        return on_cpu
    if choice.form == "partial":
        return most_of_it if choice.num_gpu is not None else left_in_part
    return _whole_way(seat)


def _whole_way(seat: Seat) -> Way:
    if not seat.joined:
        return whole_on_one
    return gathered if seat.rules.old else spread


def _is_copy(each: Placement, deployment: Deployment, choice: Choice) -> bool:
    same = each.deployment.name == deployment.name
    return same and each.choice.instance == choice.instance


def _copy_conflict(deployment: Deployment, choice: Choice) -> Conflict:
    return Conflict(
        limit="runner",
        device=None,
        short_bytes=None,
        text=f"{choice.instance} serves another copy of it already.",
        between=(deployment.name,),
    )
