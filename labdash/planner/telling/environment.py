"""What no request can set: lines for a server's environment, and what each does to its memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labdash.planner.lab import Instance, Lab
from labdash.planner.placing.engine import rules_of
from labdash.planner.plan import Choice, Placement, Plan
from labdash.planner.telling.server_ways import CACHE_TYPE, FLASH_ATTENTION, SMALLER_TYPES
from labdash.planner.telling.stage import Stage
from labdash.planner.telling.words import all_of, gib
from labdash.planner.what_if import with_env

PARALLEL = "OLLAMA_NUM_PARALLEL"
TENSOR_SPLIT = "LLAMA_ARG_TENSOR_SPLIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Lines that belong together. ``is_set``: the plan rests on them; else they are a choice.

    ``more_bytes`` is what the planned models of the server take more with them; for lines that are
    set it is told against the server without them, None where the models would not fit then.
    """

    instance: str
    lines: tuple[str, ...]
    effect: str
    is_set: bool
    more_bytes: int | None


def environment(lab: Lab, plan: Plan) -> tuple[Line, ...]:
    """List the lines for each server that a plan uses."""
    stage = Stage(lab, plan)
    return tuple(
        line
        for _, instance in lab.homes.values()
        for line in _of_server(stage, instance)
        if _placed(plan, instance)
    )


def _of_server(stage: Stage, instance: Instance) -> Iterator[Line]:
    yield from _cache_type(stage, instance)
    yield from _slots(stage, instance)
    yield from _splits(stage, instance)


def _placed(plan: Plan, instance: Instance) -> list[Placement]:
    return [each for each in plan.placements if each.choice.instance == instance.name]


def _cache_type(stage: Stage, instance: Instance) -> Iterator[Line]:
    kind = rules_of(instance).kv_type
    if kind != "f16":
        more = _more(stage, instance, {CACHE_TYPE: "f16"})
        saved = None if more is None else -more
        yield _line(instance, _typed(kind), saved, "than with f16", is_set=True)
        return
    for smaller in SMALLER_TYPES:
        more = _more(stage, instance, {CACHE_TYPE: smaller, FLASH_ATTENTION: "1"})
        if more:
            yield _line(instance, _typed(smaller), more, "than now", is_set=False)


def _typed(kind: str) -> tuple[str, ...]:
    return (f"{CACHE_TYPE}={kind}", f"{FLASH_ATTENTION}=1")


def _slots(stage: Stage, instance: Instance) -> Iterator[Line]:
    count = rules_of(instance).parallel
    if count > 1:
        more = _more(stage, instance, {PARALLEL: "1"})
        saved = None if more is None else -more
        yield _line(instance, (f"{PARALLEL}={count}",), saved, "than with 1 slot", is_set=True)
    else:
        more = _more(stage, instance, {PARALLEL: "2"})
        if more:
            yield _line(instance, (f"{PARALLEL}=2",), more, "than now", is_set=False)


def _line(
    instance: Instance, lines: tuple[str, ...], more: int | None, than: str, *, is_set: bool
) -> Line:
    if more is None:
        effect = f"The planned models would not all fit {than.replace('than with', 'with')}."
    else:
        word = "more" if more > 0 else "less"
        would = "take" if is_set else "would take"
        effect = f"The planned models {would} {gib(abs(more))} {word} {than}."
    return Line(instance=instance.name, lines=lines, effect=effect, is_set=is_set, more_bytes=more)


def _more(stage: Stage, instance: Instance, changes: Mapping[str, str]) -> int | None:
    """Tell how much more the planned models take after a change, None where one cannot be."""
    changed = Stage(with_env(stage.lab, instance.name, changes), stage.plan)
    total = 0
    for placement in _placed(stage.plan, instance):
        if placement.shares:
            continue
        choice = placement.choice
        there = changed.other(choice, variant=choice.variant, ctx=choice.ctx)
        if not isinstance(there, Choice):
            return None
        total += there.taken_bytes - choice.taken_bytes
    return total


def _splits(stage: Stage, instance: Instance) -> Iterator[Line]:
    """Yield the split of a model over several GPUs, to hold it whatever is free at a load."""
    split = [
        each
        for each in _placed(stage.plan, instance)
        if each.choice.form == "gpus" and not each.shares
    ]
    if len(split) != 1 or rules_of(instance).old:
        return
    choice = split[0].choice
    devices = [f"{choice.node}/{index}" for index in instance.gpus]
    shares = [choice.layers.get(device, 0) for device in devices]
    held = all_of(
        f"{count} layers on {device}" for count, device in zip(shares, devices, strict=True)
    )
    yield Line(
        instance=instance.name,
        lines=(f"{TENSOR_SPLIT}={','.join(map(str, shares))}",),
        effect=(
            f"Keeps {split[0].deployment.name} at {held}, whatever is free when it loads. It holds"
            " for all models of that Ollama that lie on several GPUs."
        ),
        is_set=False,
        more_bytes=0,
    )
