"""The places of a refused deployment, that which comes nearest to holding it first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labdash.planner.lab import Deployment
from labdash.planner.loading import Conflict, Settled
from labdash.planner.placement import choices
from labdash.planner.placing.seats import Member
from labdash.planner.placing.ways import is_admitted
from labdash.planner.plan import Choice, Plan, Refusal
from labdash.planner.telling.stage import Place, Stage, distance


@dataclass(frozen=True, slots=True)
class Near:
    """The smallest choice of a place, and what keeps it from there."""

    choice: Choice
    conflict: Conflict


class Search:
    """A refusal, with the choices that come nearest and the places by their nearness.

    ``fits`` is a choice that would fit after all, so that the search has overlooked it.
    """

    def __init__(self, stage: Stage, refusal: Refusal) -> None:
        self.stage = stage
        self.refusal = refusal
        self.deployment = refusal.deployment
        self.fits: Choice | None = None
        self.near = _nearest_first(self._near())
        self._order = {
            (each.choice.instance, frozenset(each.choice.gpu_devices)): rank
            for rank, each in reversed(list(enumerate(self.near)))
        }

    def _near(self) -> Iterator[Near]:
        stage, refusal = self.stage, self.refusal
        smallest: dict[tuple[str, ...], Choice] = {}
        for choice in choices(stage.lab, refusal.deployment):
            place = (choice.instance, *sorted(choice.gpu_devices))
            if place not in smallest or _size(choice) < _size(smallest[place]):
                smallest[place] = choice
        for choice in smallest.values():
            found = stage.attempt(refusal.deployment, refusal.replica, choice)
            if isinstance(found, Settled):
                self.fits = self.fits or choice
            else:
                yield Near(choice, found)

    def fitted(self, deployment: Deployment, choice: Choice) -> Choice | None:
        """Return a choice as it comes out beside the plan, None where it does not fit."""
        return self.stage.fitted(deployment, self.refusal.replica, choice)

    def places(self, deployment: Deployment | None = None, *, most: int) -> list[Place]:
        """List places that a deployment may use, the nearest first, then those with most room."""
        wanted = deployment or self.deployment
        found = [
            place
            for node, instance in self.stage.lab.homes.values()
            if not node.away
            for place in self.stage.places_at(instance.name)
            if is_admitted(self.stage.lab, wanted, place.member)
        ]
        return sorted(found, key=self._rank)[:most]

    def _rank(self, place: Place) -> tuple[int, int]:
        devices = frozenset(f"{place.node.name}/{gpu}" for gpu in place.member.gpus)
        rank = self._order.get((place.instance.name, devices), len(self._order))
        return rank, -self._room(place.member)

    def _room(self, member: Member) -> int:
        devices = [f"{member.node}/{gpu}" for gpu in member.gpus]
        cards = [self.stage.card(device) for device in devices]
        rooms = [
            card.room_bytes - sum(each.choice.bytes[device] for each in self.stage.beside(device))
            for device, card in zip(devices, cards, strict=True)
            if card is not None
        ]
        return max(rooms, default=0)


def first_of_each(plan: Plan) -> dict[str, Refusal]:
    """Return one refusal of each deployment by its name: its other replicas lack the same."""
    return {each.deployment.name: each for each in reversed(plan.refusals)}


def _size(choice: Choice) -> tuple[int, int]:
    return choice.on_gpus_bytes, choice.host_bytes


def _nearest_first(found: Iterable[Near]) -> list[Near]:
    """Sort by what binds. What a server as a whole does not do, it does in none of its places."""
    all_found = list(found)
    barred = {each.choice.instance for each in all_found if each.conflict.limit == "runner"}

    def rank(near: Near) -> tuple[bool, bool, tuple[bool, int]]:
        conflict = near.conflict
        return near.choice.instance in barred, conflict.limit != "runner", distance(conflict)

    return sorted(all_found, key=rank)
