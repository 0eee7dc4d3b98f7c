"""What a placement gave up of what was wished, and what each thing would have needed."""

from collections.abc import Iterator

from labdash.planner.lab import Deployment, Variant
from labdash.planner.loading import Settled
from labdash.planner.placement import choices
from labdash.planner.placing.outcome import Miss
from labdash.planner.placing.ways import steps_of
from labdash.planner.plan import Choice, Placement
from labdash.planner.score import order_of
from labdash.planner.telling.stage import Stage, lacked_bytes, wished_ctx
from labdash.planner.telling.words import all_of, clause, device_name, gib, layers, tokens

# A load that fits in an empty lab, or what it lacks even there.
type Other = Choice | Miss


def given_up(stage: Stage, placement: Placement) -> Iterator[str]:
    """Yield a sentence for context, quant and layers on the CPU, where less than wished."""
    yield from _quant(stage, placement)
    yield from _context(stage, placement)
    yield from _offload(stage, placement)


def _quant(stage: Stage, placement: Placement) -> Iterator[str]:
    deployment, choice = placement.deployment, placement.choice
    best = deployment.variants[0]
    if choice.variant is best:
        return
    said = f"{choice.variant.quant} instead of {best.quant}"
    at = f"{best.quant} at {tokens(choice.ctx)}"
    lack = _lack(stage, placement, stage.other(choice, variant=best, ctx=choice.ctx), at)
    if lack is None:
        yield f"{said}: {at} would fit too, {_not_taken(stage)}"
        return
    least = stage.other(choice, variant=best, ctx=deployment.ctx_floor)
    if choice.ctx > deployment.ctx_floor and _fits(stage, placement, least):
        lack += f" At {tokens(deployment.ctx_floor)} it would fit: {_order(deployment, choice)}"
    yield f"{said}: {lack}"


def _order(deployment: Deployment, choice: Choice) -> str:
    order = order_of(deployment)
    quant_first = order.index("quant") < order.index("ctx")
    if quant_first:
        return "you let the quant give way before the context."
    return f"{tokens(choice.ctx)} at {choice.variant.quant} count more together."


def _context(stage: Stage, placement: Placement) -> Iterator[str]:
    deployment, choice = placement.deployment, placement.choice
    if choice.ctx >= deployment.ctx_wish:
        return
    said = f"Context {tokens(choice.ctx)} instead of {tokens(deployment.ctx_wish)}"
    wish = wished_ctx(placement)
    if choice.ctx >= wish:
        yield f"{said}: the model was trained with no more."
        return
    at = tokens(wish)
    lack = _lack(stage, placement, stage.other(choice, variant=choice.variant, ctx=wish), at)
    if lack is None:
        yield f"{said}: {at} would fit too, {_not_taken(stage)}"
        return
    lack += _next_step(stage, placement, wish)
    smaller = _smaller_that_fits(stage, placement, wish)
    if smaller is not None:
        lack += f" With {smaller.quant} it would fit, but that quant counts less here."
    yield f"{said}: {lack}"


def _not_taken(stage: Stage) -> str:
    if stage.plan.status == "optimal":
        return "but the plan as a whole is better so."
    return "and a longer search may take it."


def _next_step(stage: Stage, placement: Placement, wish: int) -> str:
    """Say what keeps the context from being only a little longer, where that is not the same."""
    deployment, choice = placement.deployment, placement.choice
    steps = steps_of(deployment, choice.variant.model.shape.ctx_train)
    step = min((each for each in steps if each > choice.ctx), default=wish)
    if step == wish:
        return ""
    other = stage.other(choice, variant=choice.variant, ctx=step)
    if isinstance(other, Miss):
        return ""
    found = stage.attempt(deployment, placement.replica, other)
    if isinstance(found, Settled):
        return f" {tokens(step)} would fit, {_not_taken(stage)}"
    if lacked_bytes(found) is not None:
        return ""
    return f" Already {tokens(step)} cannot be: {clause(found.text)}"


def _smaller_that_fits(stage: Stage, placement: Placement, ctx: int) -> Variant | None:
    variants = placement.deployment.variants
    for variant in variants[variants.index(placement.choice.variant) + 1 :]:
        if _fits(stage, placement, stage.other(placement.choice, variant=variant, ctx=ctx)):
            return variant
    return None


def _offload(stage: Stage, placement: Placement) -> Iterator[str]:
    choice = placement.choice
    if not choice.cpu_layers:
        return
    total = sum(choice.layers.values())
    said = f"{choice.cpu_layers} of {layers(total)} run on the CPU"
    if not choice.gpu_devices:
        nearest = _nearest_gpu(stage, placement)
        yield f"All {layers(total)} run on the CPU of {choice.node}{nearest}."
        return
    whole = stage.other(choice, variant=choice.variant, ctx=choice.ctx, whole=True)
    lack = _lack(stage, placement, whole, "the whole model")
    yield f"{said}: {lack}" if lack else f"{said}, though the whole model would fit."


def _nearest_gpu(stage: Stage, placement: Placement) -> str:
    """Say what the GPU lacks that comes nearest to holding the whole model."""
    found = []
    for choice in choices(stage.lab, placement.deployment):
        if choice.form == "gpu" and choice.ctx <= placement.choice.ctx:
            lack = stage.lack(placement.deployment, placement.replica, choice)
            if lack is not None:
                found.append((lack.short_bytes or 0, lack.device or "", lack.between))
    if not found:
        return ""
    short, device, between = min(found)
    beside = f" beside {all_of(between)}" if between else ""
    return f": the nearest GPU, {device}, lacks {gib(short)} for it{beside}"


def _fits(stage: Stage, placement: Placement, other: Other) -> bool:
    if isinstance(other, Miss):
        return False
    found = stage.attempt(placement.deployment, placement.replica, other)
    return isinstance(found, Settled)


def _lack(stage: Stage, placement: Placement, other: Other, what: str) -> str | None:
    """Say what another way lacks in the same place, None where it lacks nothing."""
    choice = placement.choice
    if isinstance(other, Miss):
        return _missed(choice, other, what)
    found = stage.attempt(placement.deployment, placement.replica, other)
    if isinstance(found, Settled):
        return None
    short = lacked_bytes(found)
    if short is None or found.device is None:
        return f"{what} cannot be: {clause(found.text)}"
    beside = stage.told_beside(found.device, placement)
    where = device_name(found.device)
    return f"{what} needs {gib(short)} more than {where} has{beside}."


def _missed(choice: Choice, miss: Miss, what: str) -> str:
    where = choice.gpu_devices[miss.card or 0] if choice.gpu_devices else ""
    if miss.limit == "ram":
        where = f"the RAM of {choice.node}"
    if miss.short_bytes is None or not where:
        return f"{what} cannot be there{f': {miss.text}' if miss.text else '.'}"
    return f"{what} needs {gib(miss.short_bytes)} more than {where} has even when empty."
