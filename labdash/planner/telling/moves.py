"""What has to happen so that what runs now becomes the plan."""

from collections.abc import Iterator

from labdash.planner.lab import Instance, Lab, Node, Running
from labdash.planner.placing.inventory import is_installed, plain
from labdash.planner.plan import Choice, Move, Placement, Plan
from labdash.planner.telling import names
from labdash.planner.telling.words import all_of, gib, tokens

ORDER = ("pull", "unload", "change", "load")


def moves(lab: Lab, plan: Plan) -> tuple[Move, ...]:
    """List downloads, loads, changes and unloads, in the order in which they make sense."""
    found = [*_pulls(lab, plan), *_unloads(lab, plan), *_starts(lab, plan)]
    return tuple(sorted(found, key=lambda move: ORDER.index(move.kind)))


def _pulls(lab: Lab, plan: Plan) -> Iterator[Move]:
    """Yield one download for each file and instance that lacks it; siblings share their disk."""
    seen = set()
    for placement in plan.placements:
        choice = placement.choice
        key = (choice.node, choice.variant.digest or choice.variant.name)
        if key in seen or not _lacks(lab, choice):
            continue
        seen.add(key)
        size = choice.download_bytes
        how_much = gib(size) if size else "of unknown size"
        yield Move(
            kind="pull",
            deployment=placement.deployment.name,
            instance=choice.instance,
            model=choice.variant.name,
            bytes=size,
            text=f"{choice.instance} downloads {choice.variant.name}, {how_much}.",
        )


def _lacks(lab: Lab, choice: Choice) -> bool:
    if choice.download_bytes:
        return True
    _, instance = lab.homes[choice.instance]
    return not is_installed(choice.variant, instance) and not _runs(choice, instance)


def _runs(choice: Choice, instance: Instance) -> bool:
    return any(names.is_of(each.name, choice.variant, instance) for each in instance.running)


def _unloads(lab: Lab, plan: Plan) -> Iterator[Move]:
    """Yield what was loaded to stay and that nothing planned on its instance has use for."""
    for node, instance, running in _running(lab):
        if node.away or not running.stays or _serving(plan, instance, running):
            continue
        freed = sum(running.gpu_bytes.values())
        where = _gpus(node, running)
        much = f" and leaves {gib(freed)} free on {where}" if freed else ""
        yield Move(
            kind="unload",
            deployment=_meant(lab, running),
            instance=instance.name,
            model=running.name,
            bytes=freed,
            text=f"{running.name} leaves the memory of {instance.name}{much}:"
            " the plan does not use it there.",
        )


def _running(lab: Lab) -> Iterator[tuple[Node, Instance, Running]]:
    for node, instance in lab.homes.values():
        for running in instance.running:
            yield node, instance, running


def _meant(lab: Lab, running: Running) -> str | None:
    """Tell the deployment whose alias a running model is."""
    name = plain(running.name)
    return next((d.name for d in lab.deployments if names.alias_of(d.name) == name), None)


def _serving(plan: Plan, instance: Instance, running: Running) -> tuple[Placement, ...]:
    """Return the placements on an instance that are of a running model's weights."""
    return tuple(
        each
        for each in plan.placements
        if each.choice.instance == instance.name and _is_runner(each, instance, running)
    )


def _is_runner(placement: Placement, instance: Instance, running: Running) -> bool:
    """Whether a running model is what a placement wants in memory: its weights, or its alias."""
    variant = placement.choice.variant
    if names.is_of(running.name, variant, instance):
        return True
    if plain(running.name) != plain(names.served(placement)):
        return False
    # An alias made of other weights has to go before it can be made anew.
    return names.blob_of(running.name, instance) is None or variant.digest is None


def _starts(lab: Lab, plan: Plan) -> Iterator[Move]:
    """Yield the loads of residents, and the changes of what runs otherwise than planned."""
    ordered = sorted(plan.placements, key=lambda each: (each.choice.instance, each.load_order))
    for placement in ordered:
        if placement.shares or not placement.deployment.resident:
            continue
        node, instance = lab.homes[placement.choice.instance]
        found = [each for each in instance.running if _is_runner(placement, instance, each)]
        if not found:
            yield _load(placement)
        elif change := _changed(node, placement, found[0]):
            yield change


def _load(placement: Placement) -> Move:
    choice, name = placement.choice, names.served(placement)
    size = choice.taken_bytes
    text = (
        f"{choice.instance} loads {name}: {choice.variant.quant} at {tokens(choice.ctx)},"
        f" {gib(_bytes_there(choice))} on {_places(choice)}."
    )
    return _move("load", placement, size, text)


def _changed(node: Node, placement: Placement, running: Running) -> Move | None:
    """Tell how a running model differs from its placement, None where it does not."""
    choice, name = placement.choice, names.served(placement)
    differences = []
    if running.ctx is not None and running.ctx != choice.ctx:
        differences.append(f"{tokens(choice.ctx)} instead of {tokens(running.ctx)}")
    now = _gpus(node, running)
    if now and now != all_of(sorted(choice.gpu_devices)):
        differences.append(f"{_places(choice)} instead of {now}")
    if differences:
        text = f"{choice.instance} loads {running.name} anew: {all_of(differences)}."
        return _move("change", placement, choice.taken_bytes, text)
    if plain(running.name) == plain(name):
        return None
    text = (
        f"{running.name} runs on {choice.instance} as planned; it is loaded anew as {name}, the"
        " name that keeps its options."
    )
    return _move("change", placement, choice.taken_bytes, text)


def _move(kind: str, placement: Placement, size: int, text: str) -> Move:
    return Move(
        kind="load" if kind == "load" else "change",
        deployment=placement.deployment.name,
        instance=placement.choice.instance,
        model=names.served(placement),
        bytes=size,
        text=text,
    )


def _bytes_there(choice: Choice) -> int:
    """Count what it takes of the devices that are named: of RAM where no GPU is."""
    return choice.on_gpus_bytes or choice.host_bytes


def _places(choice: Choice) -> str:
    return all_of(sorted(choice.gpu_devices)) or f"the CPU of {choice.node}"


def _gpus(node: Node, running: Running) -> str:
    held = sorted(index for index, size in running.gpu_bytes.items() if size)
    return all_of(f"{node.name}/{index}" for index in held)
