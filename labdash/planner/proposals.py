"""What other settings of a server, or further servers, would allow: each is planned anew.

Lines of the environment hold after a restart of that Ollama. Only what makes the plan better is
proposed, the best first, and nothing for which one goes short that is more important than all that
gain.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from labdash.planner.greedy import quick
from labdash.planner.lab import Instance, Lab, Node
from labdash.planner.ollama import MIB, MOST_SHARE
from labdash.planner.placing.engine import Rules, rules_of
from labdash.planner.plan import Plan, Proposal, Score
from labdash.planner.telling.compare import Change, Comparison, Fate, compare
from labdash.planner.telling.needs import Needs
from labdash.planner.telling.parting import devices, parted_lines, partings
from labdash.planner.telling.second import lines_of, second_instance, shared_folder
from labdash.planner.telling.server_ways import CACHE_TYPE, FLASH_ATTENTION, SMALLER_TYPES
from labdash.planner.telling.sight import card_makers
from labdash.planner.telling.words import all_of, gib, ordinal
from labdash.planner.what_if import with_env, with_instance

type Planner = Callable[[Lab], Plan]

MOST_PROPOSALS = 5
# So many changes are planned: each costs a plan.
MOST_TRIED = 12
# A plan of a large lab takes seconds.
LIMIT_S = 10.0
# Of more deployments that gain or lose the text gives the number.
MOST_NAMED = 4
# What a margin is lowered to, and what is left where it is already low.
LOWER_MARGIN_MIB = 512
# A gain of value that is worth a restart.
LEAST_GAIN = 0.01
COMPARES = (
    f"One Ollama keeps a model beside another only where its own figure for it is within"
    f" {MOST_SHARE} % of what is free; one that holds nothing yet does not ask. "
)
VULKAN_COUNTS = (
    " Vulkan may number the GPUs otherwise, and counts one in the processor too: the line"
    ' "inference compute" of each log says which it found.'
)


# What is shown as good, and as the price of it.
GAIN: tuple[Fate, ...] = ("served", "better")
LOSS: tuple[Fate, ...] = ("mixed", "worse", "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A lab after lines were written into the environment of one server, or of several.

    ``servers`` are those that have the GPUs of ``instance`` then.
    """

    node: Node
    instance: Instance
    lines: tuple[str, ...]
    lab: Lab
    is_second: bool = False
    servers: tuple[Instance, ...] = ()
    note: str = ""


class _Found(NamedTuple):
    """A change that makes a better plan, and what that plan has otherwise."""

    change: _Change
    score: Score
    told: Comparison


def proposed(
    lab: Lab,
    plan: Plan,
    *,
    replan: Planner | None = None,
    most: int = MOST_PROPOSALS,
    clock: Callable[[], float] = lambda: 0.0,
) -> tuple[Proposal, ...]:
    """List the changes that make a plan better.

    ``replan`` plans a changed lab; without it the plan that is there is the start, so that nothing
    moves without need. With a ``clock`` no further change is planned after ``LIMIT_S`` seconds.
    """
    found: list[_Found] = []
    replan = replan or (lambda changed: quick(changed, like=plan))
    end = clock() + LIMIT_S
    for change in islice(_changes(lab, plan), MOST_TRIED):
        if clock() > end:
            break
        after = replan(change.lab)
        if _is_better(plan, after):
            found.append(_Found(change, after.score, compare(plan, after)))
    fair = [each for each in found if not _is_at_cost_of_greater(lab, each.told)]
    fair.sort(key=lambda each: each.score.key, reverse=True)
    best = islice(_one_parting_each(fair), most)
    return tuple(_proposal(each.change, each.told) for each in best)


def _one_parting_each(found: Iterable[_Found]) -> Iterator[_Found]:
    """Leave out all but the best way to part the GPUs of a server."""
    seen = set()
    for each in found:
        name = each.change.instance.name
        if each.change.servers and name in seen:
            continue
        if each.change.servers:
            seen.add(name)
        yield each


def _is_at_cost_of_greater(lab: Lab, told: Comparison) -> bool:
    """Whether one goes short that is more important than all that gain."""
    ranks = {each.name: each.priority for each in lab.deployments}
    short = [ranks[each.deployment] for each in told.changes if _goes_short(each)]
    gaining = [ranks[each.deployment] for each in told.changes if each.fate in (*GAIN, "mixed")]
    return bool(short and gaining) and min(short) < min(gaining)


def _goes_short(change: Change) -> bool:
    """Whether one gets less of what was wished; what is only slower has all of it."""
    if change.fate != "worse" or change.before is None or change.after is None:
        return change.fate == "refused"
    before, after = (
        (each.ctx, each.variant.quant, each.cpu_layers) for each in (change.before, change.after)
    )
    return before != after


def _is_better(before: Plan, after: Plan) -> bool:
    """Compare as scores are, but not by what is moved, and not by a trifle."""
    old, new = before.score, after.score
    if (new.served, -new.cpu_layers) != (old.served, -old.cpu_layers):
        return (new.served, -new.cpu_layers) > (old.served, -old.cpu_layers)
    return new.value > old.value + LEAST_GAIN


def _proposal(change: _Change, told: Comparison) -> Proposal:
    return Proposal(
        instance=change.instance.name,
        kind="second instance" if change.is_second or change.servers else "environment",
        lines=change.lines,
        gains=tuple(each.text for each in told.changes if each.fate in GAIN),
        losses=tuple(each.text for each in told.changes if each.fate in LOSS),
        text=_text(change, told),
    )


def _text(change: _Change, told: Comparison) -> str:
    parts = []
    if served := _named(told, "served"):
        parts.append(f"also {_some(served)} {_verb('fit', served)}")
    if better := _named(told, "better"):
        parts.append(f"{_some(better)} {_verb('get', better)} more")
    if mixed := _named(told, "mixed"):
        parts.append(f"{_some(mixed)} {_verb('get', mixed)} more in one way and less in another")
    if worse := _named(told, "worse"):
        parts.append(f"{_some(worse)} {_verb('get', worse)} less")
    if refused := _named(told, "refused"):
        parts.append(f"{_some(refused)} {'are' if len(refused) > 1 else 'is'} no longer served")
    what = all_of(parts) or "the plan is better as a whole"
    return f"{_start(change)}, {what}.{f' {change.note}' if change.note else ''}"


def _start(change: _Change) -> str:
    if change.servers:
        homes = (f"{each.name} for {devices(change.node, each)}" for each in change.servers)
        alone = all(len(each.gpus) == 1 for each in change.servers)
        what = "one Ollama for each GPU" if alone else f"{len(change.servers)} Ollama servers"
        return f"With {what} of {change.node.name} ({all_of(homes)})"
    if change.is_second:
        seen = devices(change.node, change.instance)
        where = f", for {seen} too" if seen else ""
        which = ordinal(len(change.node.instances) + 1)
        return f"With a {which} Ollama on {change.node.name} ({change.instance.name}{where})"
    return f"With {all_of(change.lines)} on {change.instance.name} and a restart of that Ollama"


def _named(told: Comparison, *fates: Fate) -> list[str]:
    return list(dict.fromkeys(each.deployment for each in told.changes if each.fate in fates))


def _some(names: list[str]) -> str:
    left = len(names) - MOST_NAMED
    if left < 2:  # noqa: PLR2004 - one other is named as well
        return all_of(names)
    return all_of([*names[:MOST_NAMED], f"{left} others"])


def _verb(verb: str, names: list[str]) -> str:
    return verb if len(names) > 1 else f"{verb}s"


def _changes(lab: Lab, plan: Plan) -> Iterator[_Change]:
    """Yield what could help: each kind on each server that could serve something that lacks."""
    needs = Needs(lab, plan)
    for kind in (_cache_type, _one_slot, _more_loaded, _parted, _second, _margin, _no_spread):
        for node, instance in needs.servers():
            yield from kind(needs, node, instance)


def _with_lines(needs: Needs, node: Node, instance: Instance, lines: dict[str, str]) -> _Change:
    changed = with_env(needs.lab, instance.name, lines)
    written = tuple(f"{name}={value}" for name, value in lines.items())
    return _Change(node=node, instance=instance, lines=written, lab=changed)


def _cache_type(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    kind = next(iter(SMALLER_TYPES))
    if rules_of(instance).kv_type != "f16" or not needs.takes_type(kind):
        return
    if needs.is_helped(instance, by=SMALLER_TYPES[kind] * needs.cache_bytes(instance)):
        lines = {CACHE_TYPE: kind, FLASH_ATTENTION: "1"}
        yield _with_lines(needs, node, instance, lines)


def _one_slot(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    parallel = rules_of(instance).parallel
    saved = (1 - 1 / parallel) * needs.cache_bytes(instance)
    if parallel > 1 and needs.is_helped(instance, by=saved):
        yield _with_lines(needs, node, instance, {"OLLAMA_NUM_PARALLEL": "1"})


def _second(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    """Yield a second server for all of the node's GPUs where what binds is of one server."""
    evicts = needs.is_held(instance, "eviction") and len(instance.gpus) == 1
    if instance is not node.instances[0] or not (evicts or needs.is_held(instance, "runner")):
        return
    added = second_instance(node, instance.gpus)
    yield _Change(
        node=node,
        instance=added,
        lines=lines_of(node, added),
        lab=with_instance(needs.lab, node.name, added),
        is_second=True,
        note=f"{COMPARES if evicts else ''}{shared_folder(instance)}",
    )


def _parted(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    """Yield servers of their own for a server's GPUs, where it binds that one has them all."""
    evicts = needs.is_held(instance, "eviction")
    if not (evicts or needs.is_held(instance, "runner") or needs.is_divided(instance)):
        return
    for parting in partings(needs.lab, node, instance):
        yield _Change(
            node=node,
            instance=instance,
            lines=parted_lines(parting, instance),
            lab=parting.lab,
            servers=parting.servers,
            note=f"{COMPARES if evicts else ''}{shared_folder(instance)}{_vulkan(node)}",
        )


def _vulkan(node: Node) -> str:
    return "" if card_makers(node, node.instances[0]) == {"nvidia"} else VULKAN_COUNTS


def _margin(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    rules = rules_of(instance)
    if rules.old or not rules.fit or not instance.gpus or _is_low(rules):
        return
    if not needs.is_helped(instance, by=LOWER_MARGIN_MIB * MIB * len(instance.gpus)):
        return
    lines = {"LLAMA_ARG_FIT_TARGET": str(LOWER_MARGIN_MIB)}
    note = f"Less stays free for what nobody foresees: {gib(LOWER_MARGIN_MIB * MIB)}."
    yield replace(_with_lines(needs, node, instance, lines), note=note)


def _is_low(rules: Rules) -> bool:
    return bool(rules.targets_mib) and max(rules.targets_mib) <= LOWER_MARGIN_MIB


def _more_loaded(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    most = 2 * rules_of(instance).most_loaded
    if needs.is_full(instance) and needs.is_held(instance, "runner"):
        yield _with_lines(needs, node, instance, {"OLLAMA_MAX_LOADED_MODELS": str(most)})


def _no_spread(needs: Needs, node: Node, instance: Instance) -> Iterator[_Change]:
    if rules_of(instance).spread:
        yield _with_lines(needs, node, instance, {"OLLAMA_SCHED_SPREAD": "0"})
