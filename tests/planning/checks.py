"""What must hold of every plan."""

from collections import Counter

from labdash.planner.lab import Lab
from labdash.planner.loading import Pick, Settled, settle
from labdash.planner.plan import Plan


def assert_holds(lab: Lab, plan: Plan) -> None:
    """Settle a plan anew: it fits, comes out the same, and accounts for every replica."""
    planned = {each.device: each.planned_bytes for each in plan.devices}
    for node in lab.nodes:
        here = [each for each in plan.placements if each.choice.node == node.name]
        picks = [
            Pick(deployment=each.deployment, replica=each.replica, choice=each.choice)
            for each in here
        ]
        outcome = settle(node, picks)
        assert isinstance(outcome, Settled), (node.name, outcome)
        held = {device: size for device, size in planned.items() if size}
        assert outcome.devices == {
            device: size for device, size in held.items() if device.startswith(f"{node.name}/")
        }
        assert {id(load.pick.choice): load.load_order for load in outcome.loads} == {
            id(each.choice): each.load_order for each in here
        }
    told = Counter(each.deployment for each in plan.placements)
    told += Counter(each.deployment for each in plan.refusals)
    assert told == Counter({each: each.replicas for each in lab.deployments})
    replicas = {(each.deployment.name, each.replica) for each in plan.placements}
    replicas |= {(each.deployment.name, each.replica) for each in plan.refusals}
    assert len(replicas) == told.total()
