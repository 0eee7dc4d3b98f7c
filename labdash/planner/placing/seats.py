"""Where a load may go: each GPU of a server alone, those of a server together, or its CPU.

Places that are alike in all that a load follows from are one ``Seat``, so that a hundred equal
machines cost no more thought than one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from labdash.planner.lab import Card, Instance, Lab, Node
from labdash.planner.placing.engine import Rules, rules_of


class Member(NamedTuple):
    """A place. ``gpus`` are the node's numbers of the seat's cards, in order, none for the CPU.

    ``main_gpu`` pins a model there, as the instance counts, None where nothing need be said.
    """

    node: str
    instance: str
    gpus: tuple[int, ...]
    main_gpu: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """``cards`` are what a load sees, none for the CPU; their names and numbers are left out.

    ``joined``: these are all GPUs of a server that has several, so that it decides which it uses.
    """

    rules: Rules
    cards: tuple[Card, ...]
    joined: bool
    ram_room_bytes: int | None
    ram_gbs: float | None
    unified: bool


@lru_cache(maxsize=8)
def seats_of(lab: Lab) -> Mapping[Seat, tuple[Member, ...]]:
    """Return all places of the nodes that are not away, like ones together, in the lab's order."""
    found: dict[Seat, list[Member]] = {}
    for node in lab.nodes:
        for instance in () if node.away else node.instances:
            for seat, member in _places(node, instance):
                found.setdefault(seat, []).append(member)
    return {seat: tuple(members) for seat, members in found.items()}


def seats_at(node: Node, instance: Instance) -> dict[Member, Seat]:
    """Return the places of one server."""
    return {member: seat for seat, member in _places(node, instance)}


def visible(node: Node, instance: Instance) -> list[Card]:
    """Return the cards that a server sees, in its order."""
    cards = {card.index: card for card in node.cards}
    return [cards[index] for index in instance.gpus if index in cards]


def engine_free_bytes(card: Card) -> int:
    """Tell what the engine sees free: it does not know what the owner keeps for himself."""
    return max(0, card.total_bytes - card.used_bytes)


def _places(node: Node, instance: Instance) -> Iterable[tuple[Seat, Member]]:
    cards, rules = visible(node, instance), rules_of(instance)
    for card, main_gpu in _alone(cards, rules):
        member = Member(node.name, instance.name, (card.index,), main_gpu)
        yield _seat(node, rules, [card], joined=False), member
    group = cards if rules.old or not cards else _strongest(cards)
    if len(group) > 1:
        member = Member(node.name, instance.name, tuple(card.index for card in group), None)
        yield _seat(node, rules, group, joined=True), member
    yield _seat(node, rules, [], joined=False), Member(node.name, instance.name, (), None)


def _alone(cards: Sequence[Card], rules: Rules) -> Iterable[tuple[Card, int | None]]:
    """Yield the cards that a model can be pinned to, with the number that does it.

    Numbers count within the cards of a maker; of several that have a number the freest is taken.
    """
    if len(cards) < 2:  # noqa: PLR2004 - nothing to choose
        yield from ((card, None) for card in cards)
        return
    groups = [] if rules.old else _groups(cards)
    for number in range(max(map(len, groups), default=0)):
        numbered = [group[number] for group in groups if number < len(group)]
        yield max(numbered, key=engine_free_bytes), number


def _groups(cards: Sequence[Card]) -> list[list[Card]]:
    """Part cards by the library that drives them: a load never mixes two."""
    found: dict[object, list[Card]] = {}
    for card in cards:
        found.setdefault(card.vendor, []).append(card)
    return list(found.values())


def _strongest(cards: Sequence[Card]) -> list[Card]:
    return max(_groups(cards), key=lambda group: sum(map(engine_free_bytes, group)))


def _seat(node: Node, rules: Rules, cards: Sequence[Card], *, joined: bool) -> Seat:
    # Where GPU and CPU share the memory, it is as fast for both.
    shared = node.cards[0].bandwidth_gbs if node.unified and node.cards else None
    return Seat(
        rules=rules,
        cards=tuple(replace(card, index=0, name="", doubt="") for card in cards),
        joined=joined,
        ram_room_bytes=node.ram_room_bytes,
        ram_gbs=node.ram_gbs or shared,
        unified=node.unified,
    )
