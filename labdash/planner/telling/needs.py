"""What deployments lack on each server, so that only what could help them is planned."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from labdash.planner.lab import Deployment, Instance, Lab, Node, Variant
from labdash.planner.loading import Conflict
from labdash.planner.placing.engine import rules_of
from labdash.planner.placing.outcome import Miss
from labdash.planner.placing.ways import labels_of, ways_at
from labdash.planner.plan import Choice, Limit, Placement, Plan, Refusal
from labdash.planner.telling.near import Search, first_of_each
from labdash.planner.telling.server_ways import beside_weights, takes_type
from labdash.planner.telling.stage import Stage, lacked_bytes, load_at, wished_ctx

# So many places are looked at for what has no place even in an empty lab.
MOST_PLACES = 12


class _Lack(NamedTuple):
    """What keeps a load from a server, and what it has beside its weights."""

    limit: Limit
    short_bytes: int | None
    beside_bytes: int


class Needs:
    """A plan, with what is refused or has less than was wished."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        self.lab = lab
        self._plan = plan
        self._stage = Stage(lab, plan)

    def servers(self) -> list[tuple[Node, Instance]]:
        """List servers that could serve something that lacks."""
        return [
            (node, instance)
            for node, instance in self.lab.homes.values()
            if not node.away and any(_may_be_on(each, node) for each in self._lacking)
        ]

    def takes_type(self, kind: str) -> bool:
        """Whether a type of the cache would do for anything that lacks."""
        return any(takes_type(each, kind) for each in self._lacking)

    def cache_bytes(self, instance: Instance) -> int:
        """Tell what loads of a server have beside their weights: those planned, and one to come."""
        there = [p.choice for p in self._plan.placements if p.choice.instance == instance.name]
        coming = (lack.beside_bytes for lack in self._of(instance))
        return sum(map(beside_weights, there)) + max(coming, default=0)

    def is_helped(self, instance: Instance, *, by: float) -> bool:
        """Whether something lacks no more than ``by`` bytes on a server."""
        shorts = (lack.short_bytes for lack in self._of(instance))
        return any(short is not None and short <= by for short in shorts)

    def is_held(self, instance: Instance, limit: Limit) -> bool:
        """Whether something is kept from a server by a limit."""
        return any(lack.limit == limit for lack in self._of(instance))

    def is_full(self, instance: Instance) -> bool:
        """Whether one model more may be more than a server holds at once."""
        here = (p for p in self._plan.placements if p.choice.instance == instance.name)
        return sum(not each.shares for each in here) >= rules_of(instance).most_loaded

    def is_divided(self, instance: Instance) -> bool:
        """Whether a model lies on several GPUs of a server."""
        here = (p.choice for p in self._plan.placements if p.choice.instance == instance.name)
        return any(len(choice.gpu_devices) > 1 for choice in here)

    @cached_property
    def _lacking(self) -> list[Deployment]:
        names = {each.deployment.name for each in self._plan.refusals}
        names |= {each.deployment.name for each in self._plan.placements if has_less(each)}
        return [each for each in self.lab.deployments if each.name in names]

    @cached_property
    def _lacks(self) -> dict[str, list[_Lack]]:
        """List what keeps loads from each server."""
        found: dict[str, list[_Lack]] = {}
        refusals = first_of_each(self._plan).values()
        refused = (each for refusal in refusals for each in self._refused(refusal))
        wished = (each for placement in self._plan.placements for each in self._wished(placement))
        for instance, lack in (*refused, *wished):
            found.setdefault(instance, []).append(lack)
        return found

    def _of(self, instance: Instance) -> list[_Lack]:
        return self._lacks.get(instance.name, [])

    def _refused(self, refusal: Refusal) -> Iterator[tuple[str, _Lack]]:
        search = Search(self._stage, refusal)
        for near in search.near:
            yield near.choice.instance, _lack_of(near.choice, near.conflict)
        if search.near or not refusal.deployment.variants:
            return
        variant, ctx = refusal.deployment.variants[-1], refusal.deployment.ctx_floor
        for place in search.places(most=MOST_PLACES):
            for way in ways_at(refusal.deployment, place.seat):
                missed = load_at(place, variant, ctx, way)
                if isinstance(missed, Miss):
                    yield place.instance.name, _lack_even_empty(missed, variant)

    def _wished(self, placement: Placement) -> Iterator[tuple[str, _Lack]]:
        """Yield what the next longer context, and the next better file, lack in the same place."""
        deployment, choice = placement.deployment, placement.choice
        rank = deployment.variants.index(choice.variant)
        for variant, ctx in (
            (choice.variant, min(2 * choice.ctx, deployment.ctx_wish)),
            (deployment.variants[max(0, rank - 1)], choice.ctx),
        ):
            if (variant, ctx) == (choice.variant, choice.ctx):
                continue
            other = self._stage.other(choice, variant=variant, ctx=ctx)
            if isinstance(other, Miss):
                yield choice.instance, _lack_even_empty(other, variant)
                continue
            found = self._stage.attempt(deployment, placement.replica, other)
            if isinstance(found, Conflict):
                yield choice.instance, _lack_of(other, found)


def _lack_of(choice: Choice, conflict: Conflict) -> _Lack:
    return _Lack(conflict.limit, lacked_bytes(conflict), beside_weights(choice))


def _lack_even_empty(miss: Miss, variant: Variant) -> _Lack:
    beside = max(0, miss.needed_bytes - variant.model.weight_bytes)
    return _Lack(miss.limit, miss.short_bytes, beside)


def has_less(placement: Placement) -> bool:
    """Whether a placement gives less than was wished."""
    deployment, choice = placement.deployment, placement.choice
    smaller = bool(deployment.variants) and choice.variant is not deployment.variants[0]
    return choice.ctx < wished_ctx(placement) or smaller or bool(choice.cpu_layers)


def _may_be_on(deployment: Deployment, node: Node) -> bool:
    if deployment.pin is not None and deployment.pin.rpartition("/")[0] != node.name:
        return False
    return not deployment.nodes or bool(deployment.nodes & labels_of(node))
