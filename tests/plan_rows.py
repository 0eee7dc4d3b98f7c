"""Plans and their items as rows, in one line each. What a test does not name is ordinary."""

from typing import Any

from labdash.models import Instance, ItemState, ItemWish, Plan, PlanItem, PlanState, Residency
from tests.factories import GIB, WHEN


def make_plan(**fields: Any) -> Plan:
    """Store a plan that is being applied."""
    return Plan.objects.create(**fields)


def make_item(plan: Plan, instance: Instance, name: str = "chat", **fields: Any) -> PlanItem:
    """Store a resident model of 6 GiB on the node's first GPU, of a server that told its models."""
    Instance.objects.filter(pk=instance.pk, inventory_at=None).update(inventory_at=WHEN)
    device = f"{instance.node.slug}/0"
    values: dict[str, Any] = {
        "deployment_name": name,
        "model": "qwen3:8b",
        "alias": f"labdash/{name}",
        "quant": "Q4_K_M",
        "ctx": 8192,
        "num_batch": 512,
        "layers": {device: 37},
        "bytes": {device: 6 * GIB},
        "overheads": {device: GIB // 8},
        "host_bytes": GIB // 2,
        "margin_bytes": GIB,
        **fields,
    }
    return PlanItem.objects.create(plan=plan, instance=instance, **values)


def make_ending(plan: Plan, instance: Instance, name: str, **fields: Any) -> PlanItem:
    """Store a model that a plan ends."""
    return PlanItem.objects.create(
        plan=plan, instance=instance, wish=ItemWish.UNLOAD, model=name, load_order=0, **fields
    )


def in_force(instance: Instance, **fields: Any) -> PlanItem:
    """Store a plan in force of one model that is ready, and return its item."""
    plan = make_plan(state=PlanState.CURRENT)
    return make_item(plan, instance, **{"state": ItemState.READY, **fields})


ON_DEMAND = Residency.ON_DEMAND
