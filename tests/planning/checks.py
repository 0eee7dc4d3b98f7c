"""What must hold of every plan."""

from collections import Counter, defaultdict

from labdash.planner.lab import Lab
from labdash.planner.loading import Pick, Settled, settle
from labdash.planner.plan import Placement, Plan
from labdash.planner.verify import Checked


def assert_holds(lab: Lab, plan: Plan) -> None:
    """Settle a plan anew: it fits, adds up, and accounts for every replica."""
    planned = {each.device: each.planned_bytes for each in plan.devices}
    for node in lab.nodes:
        here = [each for each in plan.placements if each.choice.node == node.name]
        picks = [
            Pick(deployment=each.deployment, replica=each.replica, choice=each.choice)
            for each in here
        ]
        outcome = settle(node, picks)
        assert isinstance(outcome, Settled), (node.name, outcome)
        for card in node.cards:
            device = f"{node.name}/{card.index}"
            assert planned[device] == held_bytes(here, device) <= card.room_bytes
        assert_in_order(here)
    told = Counter(each.deployment for each in plan.placements)
    told += Counter(each.deployment for each in plan.refusals)
    assert told == Counter({each: each.replicas for each in lab.deployments})
    replicas = {(each.deployment.name, each.replica) for each in plan.placements}
    replicas |= {(each.deployment.name, each.replica) for each in plan.refusals}
    assert len(replicas) == told.total()


def held_bytes(placements: list[Placement], device: str) -> int:
    """Add up residents, and of what takes turns on each instance the largest."""
    turns: dict[str, int] = defaultdict(int)
    staying = 0
    for each in placements:
        size = each.choice.bytes.get(device, 0)
        if each.shares is not None:
            continue
        if each.deployment.resident:
            staying += size
        else:
            turns[each.choice.instance] = max(turns[each.choice.instance], size)
    return staying + sum(turns.values())


def assert_in_order(placements: list[Placement]) -> None:
    """Load residents first on each instance, one after the other."""
    own = [each for each in placements if each.shares is None]
    for instance in {each.choice.instance for each in own}:
        loads = sorted(
            (each.load_order, each.deployment.resident)
            for each in own
            if each.choice.instance == instance
        )
        assert [order for order, _ in loads] == list(range(1, len(loads) + 1))
        staying = [resident for _, resident in loads]
        assert staying == sorted(staying, reverse=True)


def agrees(told: Checked) -> bool:
    """Whether all that was seen is what was predicted; less than that is not."""
    return all(each.agrees for each in told.devices)
