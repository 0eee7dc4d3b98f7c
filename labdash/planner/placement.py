"""All ways to serve a deployment in a lab that holds nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import le

from labdash.planner.lab import Deployment, Lab
from labdash.planner.placing.blocked import Blocked, why_none
from labdash.planner.placing.groups import groups_of
from labdash.planner.placing.outcome import Miss, Outcome
from labdash.planner.placing.seats import Member, Seat, seats_of
from labdash.planner.placing.stamping import stamped
from labdash.planner.placing.ways import ways
from labdash.planner.plan import Choice
from labdash.planner.score import satisfaction

__all__ = ["Blocked", "Member", "Profile", "choices", "profiles", "why_none"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Profile:
    """A choice, and all places that are alike for it: ``choice`` is that of the first member.

    ``satisfaction`` is in millionths, by the greatest speed in the empty lab.
    """

    choice: Choice
    members: tuple[Member, ...]
    outcome: Outcome
    seat: Seat
    satisfaction: int = 0

    def at(self, member: Member) -> Choice:
        """Return the choice in one of the places, the same object each time."""
        return _at(self, member)


@lru_cache(maxsize=50_000)
def _at(profile: Profile, member: Member) -> Choice:
    first = profile.choice
    if member == profile.members[0]:
        return first
    price = (first.download_bytes, first.moved_bytes)
    return stamped(profile.outcome, profile.seat, member, price)


def choices(lab: Lab, deployment: Deployment) -> tuple[Choice, ...]:
    """Return all choices that no other one beats, the best first."""
    found = [
        (each, each.at(member)) for each in profiles(lab, deployment) for member in each.members
    ]
    return tuple(choice for _, choice in sorted(found, key=lambda pair: _rank(*pair)))


@lru_cache(maxsize=1024)
def profiles(lab: Lab, deployment: Deployment) -> tuple[Profile, ...]:
    """Return the choices by kinds of places, the best first.

    Places are alike where cards, rules, RAM, downloads and what runs there are the same.
    """
    found = [
        (stamped(outcome, seat, group[0], price[outcome.variant]), group, outcome, seat)
        for seat, members in seats_of(lab).items()
        for made in [_outcomes(deployment, seat)]
        for price, group in (groups_of(lab, deployment, members) if made else ())
        for outcome in made
        if outcome.variant in price
    ]
    fastest = fastest_of(choice for choice, *_ in found)
    judged = [
        Profile(
            choice=choice,
            members=group,
            outcome=outcome,
            seat=seat,
            satisfaction=satisfaction(deployment, choice, fastest=fastest),
        )
        for choice, group, outcome, seat in found
    ]
    kept = _undominated(judged, fastest, on_demand=not deployment.resident)
    return tuple(sorted(kept, key=lambda each: _rank(each, each.choice)))


def fastest_of(made: Iterable[Choice]) -> float | None:
    """Return the greatest speed, None where none is known."""
    return max((c.tokens_per_s for c in made if c.tokens_per_s is not None), default=None)


def _outcomes(deployment: Deployment, seat: Seat) -> tuple[Outcome, ...]:
    least = deployment.min_tokens_per_s or 0.0
    return tuple(
        each
        for each in ways(deployment, seat)
        if not isinstance(each, Miss) and (not least or (each.tokens_per_s or 0.0) >= least)
    )


def _rank(profile: Profile, choice: Choice) -> tuple[object, ...]:
    return (
        -profile.satisfaction,
        sum(choice.bytes.values()),
        choice.instance,
        sorted(choice.devices),
        choice.variant.name,
        -choice.ctx,
        choice.form,
        choice.num_gpu or 0,
    )


def _undominated(
    found: Sequence[Profile], fastest: float | None, *, on_demand: bool
) -> Iterator[Profile]:
    """Leave out what another choice of the same places beats.

    What comes on demand drives others out only where no number of layers is said.
    """
    rivals: dict[object, list[tuple[tuple[int, ...], Profile]]] = {}
    for each in found:
        said = on_demand and each.choice.form == "partial" and each.choice.num_gpu is not None
        key = (id(each.members), each.choice.devices, said)
        rivals.setdefault(key, []).append((_costs(each), each))
    for group in rivals.values():
        kept: list[tuple[int, ...]] = []
        for costs, each in sorted(group, key=lambda pair: pair[0]):
            if not any(_covers(other, costs) for other in kept):
                kept.append(costs)
                yield each
            elif each.choice.tokens_per_s == fastest is not None:
                # What is fastest sets the measure for the speed of all.
                yield each


def _costs(profile: Profile) -> tuple[int, ...]:
    choice = profile.choice
    return (
        -profile.satisfaction,
        choice.cpu_layers,
        *(choice.bytes[device] for device in sorted(choice.bytes)),
        choice.predicted_bytes,
        choice.download_bytes,
        choice.moved_bytes,
    )


def _covers(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(map(le, one, other))
