"""Several Ollama servers in place of one that sees several GPUs, each with some of them.

A server compares a load with 80 % of what is free before it keeps it beside another, runs a file
once, and spreads a model over all that it sees. None of that holds from one server to the next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from labdash.planner.lab import Card, Instance, Lab, Node
from labdash.planner.placing.seats import engine_free_bytes, visible
from labdash.planner.telling.second import lines_of, second_instance
from labdash.planner.telling.sight import only_lines
from labdash.planner.telling.words import all_of
from labdash.planner.what_if import with_instances

type Parts = tuple[tuple[int, ...], ...]

MOST_GPUS = 8
# From here on two halves are other than each GPU alone.
LEAST_FOR_HALVES = 4
MARGINS = "LLAMA_ARG_FIT_TARGET"
# What counts the GPUs of a server, so that no part of them can take it over.
COUNTS_GPUS = "LLAMA_ARG_TENSOR_SPLIT"


class Parting(NamedTuple):
    """A lab in which several servers have the GPUs of one; the first keeps its name and port."""

    lab: Lab
    node: Node
    servers: tuple[Instance, ...]


def partings(lab: Lab, node: Node, instance: Instance) -> Iterator[Parting]:
    """Yield the ways to part a server's GPUs, each alone first."""
    cards = visible(node, instance)
    one_maker = len({card.vendor for card in node.cards}) == 1
    if node.unified or not one_maker or len(cards) > MOST_GPUS or COUNTS_GPUS in instance.env:
        return
    for parts in dict.fromkeys(_ways(cards)):
        if len(parts) > 1:
            yield _parted(lab, node, instance, parts)


def _ways(cards: list[Card]) -> Iterator[Parts]:
    """Yield each alone, those alike together, halves, and the freest against all others."""
    gpus = tuple(card.index for card in cards)
    yield tuple((gpu,) for gpu in gpus)
    kinds: dict[object, list[int]] = {}
    for card in cards:
        kinds.setdefault((card.name, card.total_bytes), []).append(card.index)
    yield tuple(map(tuple, kinds.values()))
    half = len(gpus) // 2
    if len(gpus) >= LEAST_FOR_HALVES:
        yield gpus[:half], gpus[half:]
    if half:
        freest = max(cards, key=engine_free_bytes).index
        yield (freest,), tuple(gpu for gpu in gpus if gpu != freest)


def _parted(lab: Lab, node: Node, instance: Instance, parts: Parts) -> Parting:
    first = replace(instance, gpus=parts[0], env=_env(instance, parts[0]))
    others = tuple(first if each is instance else each for each in node.instances)
    grown, servers = replace(node, instances=others), [first]
    for gpus in parts[1:]:
        added = second_instance(grown, gpus, like=first)
        added = replace(added, env=_env(instance, gpus))
        grown = replace(grown, instances=(*grown.instances, added))
        servers.append(added)
    return Parting(with_instances(lab, node.name, grown.instances), grown, tuple(servers))


def _env(instance: Instance, gpus: tuple[int, ...]) -> Mapping[str, str]:
    """Return the settings of a part: a list of margins has one for each GPU, in order."""
    margins = instance.env.get(MARGINS, "").strip("\"' ").split(",")
    if len(margins) == 1:
        return instance.env
    position = {gpu: place for place, gpu in enumerate(instance.gpus)}
    own = [margins[position[gpu]] for gpu in gpus if position[gpu] < len(margins)]
    env = {name: value for name, value in instance.env.items() if name != MARGINS}
    return env | ({MARGINS: ",".join(own)} if own else {})


def parted_lines(parting: Parting, before: Instance) -> tuple[str, ...]:
    """Write what each server's environment is to hold, under a comment that names it."""
    first, *added = parting.servers
    lines = [f"# {first.name}, as it is, for {devices(parting.node, first)}"]
    lines += [*_changed(before, first), *only_lines(parting.node, first)]
    for each in added:
        lines.append(f"# {each.name}, a further Ollama, for {devices(parting.node, each)}")
        lines += lines_of(parting.node, each)
    return tuple(lines)


def devices(node: Node, instance: Instance) -> str:
    """Write the GPUs that a server sees."""
    return all_of(f"{node.name}/{gpu}" for gpu in instance.gpus)


def _changed(before: Instance, after: Instance) -> Iterator[str]:
    new = after.env.get(MARGINS, "")
    if new != before.env.get(MARGINS, ""):
        yield f"{MARGINS}={new}"
