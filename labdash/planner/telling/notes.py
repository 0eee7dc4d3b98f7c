"""What a placement says of itself: how tight it is, its options, and what is not certain."""

from collections.abc import Iterator, Mapping

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Card, Instance, Lab, Node
from labdash.planner.ollama import MOST_SHARE, default_ctx, fits_one_gpu, parse_version
from labdash.planner.placing.engine import Rules, asked_ctx, rules_of
from labdash.planner.placing.seats import engine_free_bytes, visible
from labdash.planner.plan import Choice, Placement, Plan
from labdash.planner.telling.words import all_of, bare_gib, gib, layers, tokens

# Above it nobody asks how tight it is.
ROOMY_BYTES = 8 << 30
# Less is nothing.
NOTHING_BYTES = 16 << 20
# For a version that nobody knows, the newest rules hold.
NEWEST = (999, 0, 0)


def notes(lab: Lab, plan: Plan, placement: Placement) -> Iterator[str]:
    """Yield sentences on memory left, options and doubts."""
    node, instance = lab.homes[placement.choice.instance]
    yield from _tight(node, plan, placement.choice)
    yield from _form(node, instance, plan, placement)
    yield from _safety_off(node, instance, placement.choice)
    yield from _context(node, instance, placement.choice)
    yield from _doubts(node, placement.choice)


def _tight(node: Node, plan: Plan, choice: Choice) -> Iterator[str]:
    loads = {load.device: load for load in plan.devices}
    cards = {f"{node.name}/{card.index}": card for card in node.cards}
    for device in choice.gpu_devices:
        load, card = loads.get(device), cards.get(device)
        if load is None or card is None or load.total_bytes is None:
            continue
        margin = choice.margin_bytes if card.margin_bytes is None else card.margin_bytes
        free = load.total_bytes - load.reserved_bytes - load.planned_bytes
        if free - margin < ROOMY_BYTES:
            yield f"{_free(free, margin)} on {device}{_beside(free, margin)}."


def _free(free: int, margin: int) -> str:
    left = free - margin if free - margin >= -NOTHING_BYTES else free
    return f"{gib(left)} stay free" if left >= NOTHING_BYTES else "Nothing stays free"


def _beside(free: int, margin: int) -> str:
    """Tell of the margin; what loads later with a smaller one may take a part of it."""
    if free - margin < -NOTHING_BYTES:
        return f" in the end, of the {gib(margin)} kept free when it loads"
    return f" beside the margin of {gib(margin)}" if margin else ""


def _form(node: Node, instance: Instance, plan: Plan, placement: Placement) -> Iterator[str]:
    choice = placement.choice
    if choice.form == "gpus":
        counts = {each: choice.layers.get(each, 0) for each in choice.gpu_devices}
        parts = all_of(f"{layers(count)} on {each}" for each, count in counts.items())
        yield f"Over the GPUs of {instance.name} as Ollama splits it, by free memory: {parts}."
    elif choice.form == "partial":
        yield from _partial(choice)
    elif choice.form == "gpu" and choice.main_gpu is not None:
        yield from _pinned(node, instance, plan, placement)


def _partial(choice: Choice) -> Iterator[str]:
    where, on_gpu = all_of(choice.gpu_devices), sum(choice.layers.values()) - choice.cpu_layers
    if choice.num_gpu is None:
        yield f"Ollama itself puts {layers(on_gpu)} on {where} and leaves the rest on the CPU."
        return
    yield (
        f"num_gpu {choice.num_gpu} puts the last {layers(on_gpu)} on {where}, the rest stay on the"
        " CPU. Ollama itself does not check then whether they fit."
    )


def _pinned(node: Node, instance: Instance, plan: Plan, placement: Placement) -> Iterator[str]:
    """Yield what Ollama would do without ``main_gpu``."""
    choice = placement.choice
    (device,) = choice.gpu_devices
    said = f"Pinned to {device} with main_gpu {choice.main_gpu}"
    free = _free_at_load(node, instance, plan, placement)
    if rules_of(instance).spread:
        yield f"{said}: OLLAMA_SCHED_SPREAD is set, so Ollama would spread it over {all_of(free)}."
        return
    fitting = [each for each, size in free.items() if fits_one_gpu(choice.predicted_bytes, size)]
    if not fitting:
        most = max(free.values())
        yield (
            f"{said}: left alone Ollama would spread it over {all_of(free)}, since it takes it for"
            f" {bare_gib(choice.predicted_bytes)} GiB, more than {MOST_SHARE} % of the"
            f" {bare_gib(most)} free."
        )
        return
    taken = max(fitting, key=lambda each: free[each])
    if taken == device:
        yield f"{said}, where Ollama would put it too, so that it stays there."
    else:
        yield f"{said}: left alone Ollama would take {taken}, which has more free memory then."


def _free_at_load(
    node: Node, instance: Instance, plan: Plan, placement: Placement
) -> Mapping[str, int]:
    """Tell what each GPU of the instance has free when a placement is loaded."""
    found = {}
    for card in visible(node, instance):
        device = f"{node.name}/{card.index}"
        earlier = (
            each.choice.bytes.get(device, 0)
            for each in plan.placements
            if not each.shares and each is not placement and _is_before(each, placement)
        )
        found[device] = max(0, engine_free_bytes(card) - sum(earlier))
    return found


def _is_before(each: Placement, placement: Placement) -> bool:
    if not each.deployment.resident:
        return False
    same = each.choice.instance == placement.choice.instance
    return not same or each.load_order < placement.load_order


def _safety_off(node: Node, instance: Instance, choice: Choice) -> Iterator[str]:
    """Yield why a whole model gets ``num_gpu``."""
    if choice.form not in ("gpu", "gpus") or choice.num_gpu is None:
        return
    rules = rules_of(instance)
    for position, card in enumerate(_held(node, instance, choice)):
        engine, own = rules.margin_bytes(choice.variant, position), card.margin_bytes
        if own is not None and own < engine:
            yield (
                f"num_gpu {choice.num_gpu} asks for all layers, which switches Ollama's own check"
                f" off: it would keep {gib(engine)} of {node.name}/{card.index} free, and you want"
                f" {gib(own)}."
            )
            return


def _held(node: Node, instance: Instance, choice: Choice) -> list[Card]:
    held = set(choice.gpu_devices)
    return [card for card in visible(node, instance) if f"{node.name}/{card.index}" in held]


def _context(node: Node, instance: Instance, choice: Choice) -> Iterator[str]:
    """Yield the context that Ollama would take by itself, where it is another."""
    usual = _default_ctx(node, instance, rules_of(instance))
    trained = choice.variant.model.shape.ctx_train
    usual = min(usual, trained) if trained else usual
    if usual != choice.ctx:
        yield f"num_ctx is set: left alone this Ollama would take {tokens(usual)}."


def _default_ctx(node: Node, instance: Instance, rules: Rules) -> int:
    if asked := asked_ctx(instance):
        return asked
    total = sum(card.total_bytes - rules.gpu_overhead_bytes for card in visible(node, instance))
    return default_ctx(total, _version(instance))


def _version(instance: Instance) -> tuple[int, int, int]:
    try:
        found = parse_version(instance.version or "")
    except PlannerError:
        return NEWEST
    return NEWEST if found == (0, 0, 0) else found


def _doubts(node: Node, choice: Choice) -> Iterator[str]:
    variant = choice.variant
    if choice.download_bytes and variant.guessed:
        yield f"Nobody has seen that it is published as {variant.name}: the download may fail."
    if choice.tokens_per_s is None:
        yield f"Its speed is not known: no bandwidth is known of {_slow(node, choice)}."
    if variant.embedding and choice.num_batch > 1:
        yield f"num_batch {choice.num_batch}, as Ollama sets it for models that embed."
    cards = {f"{node.name}/{card.index}": card for card in node.cards}
    guessed: dict[str, list[str]] = {}
    for device in choice.gpu_devices:
        if device in cards and cards[device].doubt:
            guessed.setdefault(cards[device].doubt.rstrip("."), []).append(device)
    for doubt, devices in guessed.items():
        yield f"What others use of {all_of(devices)} is a guess: {doubt}."


def _slow(node: Node, choice: Choice) -> str:
    held = {f"{node.name}/{card.index}": card for card in node.cards}
    unknown = [
        f"{held[each].name} ({each})"
        for each in choice.gpu_devices
        if each in held and held[each].bandwidth_gbs is None
    ]
    return all_of(unknown) or f"the RAM of {node.name}"
