"""A lab otherwise than it is: with another card, other settings, more or less to serve."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Card, Deployment, Instance, Lab, Node

ASLEEP = "it sleeps"


def with_card(lab: Lab, node: str, card: Card) -> Lab:
    """Put a card into a node, as its last. Instances that see all of its GPUs see it too.

    Raises ``PlannerError`` where the node is not known or shares its RAM with its GPU.
    """

    def grown(old: Node) -> Node:
        if old.unified:
            raise PlannerError(f"{node} has one memory for CPU and GPU: no card can be added")
        present = {each.index for each in old.cards}
        added = replace(card, index=max(present, default=-1) + 1)
        return replace(
            old,
            cards=(*old.cards, added),
            instances=tuple(_seeing(each, present, added.index) for each in old.instances),
        )

    return _with_node(lab, node, grown)


def _seeing(instance: Instance, present: set[int], added: int) -> Instance:
    sees_all = set(instance.gpus) == present
    return replace(instance, gpus=(*instance.gpus, added)) if sees_all else instance


def with_env(lab: Lab, instance: str, changes: Mapping[str, str | None]) -> Lab:
    """Set variables of an instance's environment, or remove those that are None.

    Raises ``PlannerError`` where the instance is not known.
    """
    if instance not in lab.homes:
        raise PlannerError(f"no instance is named {instance[:80]}")
    node, _ = lab.homes[instance]

    def changed(old: Node) -> Node:
        each = (_with_env(one, changes) if one.name == instance else one for one in old.instances)
        return replace(old, instances=tuple(each))

    return _with_node(lab, node.name, changed)


def _with_env(instance: Instance, changes: Mapping[str, str | None]) -> Instance:
    merged = {**instance.env, **changes}
    env = {name: value for name, value in merged.items() if value is not None}
    return replace(instance, env=env)


def with_instance(lab: Lab, node: str, instance: Instance) -> Lab:
    """Start a further Ollama on a node. Raises ``PlannerError`` where the name is taken."""
    if instance.name in lab.homes:
        raise PlannerError(f"there is an instance {instance.name} already")
    return _with_node(lab, node, lambda old: replace(old, instances=(*old.instances, instance)))


def with_instances(lab: Lab, node: str, instances: Iterable[Instance]) -> Lab:
    """Put other servers in place of those of a node."""
    servers = tuple(instances)
    return _with_node(lab, node, lambda old: replace(old, instances=servers))


def without_files(lab: Lab, node: str, names: Collection[str], *, freed_bytes: int) -> Lab:
    """Remove models from the disk of a node."""
    gone = frozenset(names)
    return _with_node(
        lab,
        node,
        lambda old: replace(
            old,
            disk_free_bytes=(old.disk_free_bytes or 0) + freed_bytes,
            instances=tuple(_without(each, gone) for each in old.instances),
        ),
    )


def _without(instance: Instance, gone: frozenset[str]) -> Instance:
    return replace(
        instance,
        installed=tuple(name for name in instance.installed if name not in gone),
        blobs={name: blob for name, blob in instance.blobs.items() if name not in gone},
    )


def asleep(lab: Lab, node: str, *, why: str = ASLEEP) -> Lab:
    """Let nothing be planned on a node, nor run there."""
    return _with_node(lab, node, lambda old: replace(old, away=why))


def awake(lab: Lab, node: str) -> Lab:
    """Let a node that is away be planned on."""
    return _with_node(lab, node, lambda old: replace(old, away=""))


def with_ctx(
    lab: Lab, deployment: str, *, floor: int | None = None, wish: int | None = None
) -> Lab:
    """Ask for another context. What is not given stays, but a wish is no less than its floor.

    Raises ``PlannerError`` where no deployment has the name.
    """

    def changed(old: Deployment) -> Deployment:
        least = old.ctx_floor if floor is None else floor
        most = old.ctx_wish if wish is None else wish
        if wish is not None and floor is None:
            least = min(least, wish)
        return replace(old, ctx_floor=least, ctx_wish=max(least, most))

    return _with_changed(lab, deployment, changed)


def _with_changed(lab: Lab, name: str, change: Callable[[Deployment], Deployment]) -> Lab:
    if all(each.name != name for each in lab.deployments):
        raise PlannerError(f"no deployment is named {name[:80]}")
    changed = (change(each) if each.name == name else each for each in lab.deployments)
    return Lab(nodes=lab.nodes, deployments=tuple(changed))


def with_deployment(lab: Lab, deployment: Deployment) -> Lab:
    """Add a deployment. Raises ``PlannerError`` where the name is taken."""
    if any(each.name == deployment.name for each in lab.deployments):
        raise PlannerError(f"there is a deployment {deployment.name} already")
    return Lab(nodes=lab.nodes, deployments=(*lab.deployments, deployment))


def _with_node(lab: Lab, name: str, change: Callable[[Node], Node]) -> Lab:
    if all(node.name != name for node in lab.nodes):
        raise PlannerError(f"no node is named {name[:80]}")
    nodes = (change(node) if node.name == name else node for node in lab.nodes)
    return Lab(nodes=tuple(nodes), deployments=lab.deployments)
