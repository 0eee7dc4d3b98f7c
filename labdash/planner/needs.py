"""What deployments lack on each server, so that only what could help them is planned."""

from collections.abc import Iterator
from functools import cached_property

from labdash.planner.lab import Deployment, Instance, Lab, Node
from labdash.planner.loading import Conflict
from labdash.planner.near import Search
from labdash.planner.outcome import Miss
from labdash.planner.plan import Choice, Limit, Placement, Plan
from labdash.planner.server_ways import beside_weights, takes_type
from labdash.planner.stage import Stage
from labdash.planner.ways import labels_of


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
        coming = [choice for choice, _ in self._short(instance)]
        return sum(map(beside_weights, there)) + max(map(beside_weights, coming), default=0)

    def is_helped(self, instance: Instance, *, by: float) -> bool:
        """Whether something lacks no more than ``by`` bytes on a server."""
        lacks = (lack.short_bytes for _, lack in self._short(instance))
        return any(short is not None and short <= by for short in lacks)

    def is_held(self, instance: Instance, limit: Limit) -> bool:
        """Whether something is kept from a server by a limit."""
        return any(lack.limit == limit for _, lack in self._short(instance))

    @cached_property
    def _lacking(self) -> list[Deployment]:
        names = {each.deployment.name for each in self._plan.refusals}
        names |= {each.deployment.name for each in self._plan.placements if has_less(each)}
        return [each for each in self.lab.deployments if each.name in names]

    @cached_property
    def _lacks(self) -> dict[str, list[tuple[Choice, Conflict]]]:
        """List what keeps choices from each server."""
        found: dict[str, list[tuple[Choice, Conflict]]] = {}
        for refusal in self._plan.refusals:
            for near in Search(self._stage, refusal).near:
                found.setdefault(near.choice.instance, []).append((near.choice, near.conflict))
        for placement in self._plan.placements:
            for wished, lack in self._wished(placement):
                found.setdefault(placement.choice.instance, []).append((wished, lack))
        return found

    def _short(self, instance: Instance) -> list[tuple[Choice, Conflict]]:
        return self._lacks.get(instance.name, [])

    def _wished(self, placement: Placement) -> Iterator[tuple[Choice, Conflict]]:
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
                yield choice, _as_conflict(other)
                continue
            found = self._stage.attempt(deployment, placement.replica, other)
            if isinstance(found, Conflict):
                yield other, found


def has_less(placement: Placement) -> bool:
    """Whether a placement gives less than was wished."""
    deployment, choice = placement.deployment, placement.choice
    trained = choice.variant.model.shape.ctx_train
    wish = min(deployment.ctx_wish, trained) if trained else deployment.ctx_wish
    smaller = bool(deployment.variants) and choice.variant is not deployment.variants[0]
    return choice.ctx < wish or smaller or bool(choice.cpu_layers)


def _as_conflict(miss: Miss) -> Conflict:
    short = miss.short_bytes
    return Conflict(limit=miss.limit, device=None, short_bytes=short, text=miss.text, between=())


def _may_be_on(deployment: Deployment, node: Node) -> bool:
    if deployment.pin is not None and deployment.pin.rpartition("/")[0] != node.name:
        return False
    return not deployment.nodes or bool(deployment.nodes & labels_of(node))
