"""What would let a refused deployment in. Each way is tried beside the rest of the plan."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from labdash.planner.lab import Deployment, Variant
from labdash.planner.placing.ways import steps_of
from labdash.planner.plan import Choice, Limit, WayOut
from labdash.planner.telling.apart_ways import side_by_side
from labdash.planner.telling.disk_ways import freed_disk
from labdash.planner.telling.near import Search
from labdash.planner.telling.server_ways import another_server, other_cache_type
from labdash.planner.telling.stage import Place, key_of, loads_at, split_at, where
from labdash.planner.telling.words import layers, rate, tokens

# Further variants of a deployment's model, smaller than its floor, the largest first.
type Smaller = Callable[[Deployment], tuple[Variant, ...]]
type Load = tuple[Variant, int]

MOST_WAYS = 5
# So many places are looked at for one way, and so many placements to do without.
MOST_PLACES = 8
MOST_SPLIT_PLACES = 6
MOST_ENDED = 8
# No context below it is of use; those that embed do with less.
LEAST_CTX = 2048
LEAST_EMBEDDING_CTX = 256
# What nothing helps but another wish.
HOPELESS: frozenset[Limit] = frozenset({"model", "quant"})


def ways_out(search: Search, limit: Limit, *, smaller: Smaller | None = None) -> tuple[WayOut, ...]:
    """List changes after which the deployment fits, what changes least first."""
    if limit in HOPELESS or not search.deployment.variants:
        return ()
    if limit == "context":
        return tuple(_as_trained(search))
    more = smaller(search.deployment) if smaller is not None else ()
    return tuple(islice(_all_ways(search, more), MOST_WAYS))


def for_later_copy(search: Search, ways: tuple[WayOut, ...], earlier: int) -> tuple[WayOut, ...]:
    """Return the ways out of a further copy: one server more helps one copy alone."""
    further = tuple(another_server(search, earlier=earlier)) if any(map(_is_server, ways)) else ()
    return tuple(out for way in ways for out in (further if _is_server(way) else (way,)))


def _is_server(way: WayOut) -> bool:
    return way.kind == "instance" and way.at_server


def _all_ways(search: Search, more: tuple[Variant, ...]) -> Iterator[WayOut]:
    yield from _less(search, more)
    yield from _demands(search)
    yield from other_cache_type(search)
    yield from _offload(search)
    yield from _slower(search)
    yield from _elsewhere(search)
    yield from side_by_side(search)
    yield from freed_disk(search)
    if any(near.conflict.limit in ("runner", "eviction") for near in search.near):
        yield from another_server(search)
    yield from _ended(search)


def _as_trained(search: Search) -> Iterator[WayOut]:
    """Yield the longest context that fits, of those that the model was trained with."""
    last = search.deployment.variants[-1]
    steps = steps_of(replace(search.deployment, ctx_floor=1), last.model.shape.ctx_train)
    shorter = [(last, ctx) for ctx in reversed(steps) if ctx >= _least_ctx(search.deployment)]
    choice = _best(search, shorter)
    if choice is not None:
        yield _way("ctx", choice)


def _less(search: Search, more: tuple[Variant, ...]) -> Iterator[WayOut]:
    """Yield less context, a smaller quant, or both where neither alone is enough."""
    deployment = search.deployment
    last, floor = deployment.variants[-1], deployment.ctx_floor
    shorter = _steps_below(deployment)
    less_context = _best(search, [(last, ctx) for ctx in shorter])
    less_quant = _best(search, [(variant, floor) for variant in more])
    if less_context is not None:
        yield _way("ctx", less_context)
    if less_quant is not None:
        yield _way("quant", less_quant)
    if less_context is None and less_quant is None and shorter and more:
        both = _best(search, [(variant, ctx) for variant in more for ctx in shorter])
        if both is not None:
            yield replace(_way("quant", both), ctx=both.ctx)


def _steps_below(deployment: Deployment) -> list[int]:
    """List contexts below the floor, the longest first."""
    least = _least_ctx(deployment)
    if deployment.ctx_floor <= least:
        return []
    lower = replace(deployment, ctx_floor=least, ctx_wish=deployment.ctx_floor)
    return sorted(steps_of(lower, deployment.ctx_floor), reverse=True)[1:]


def _least_ctx(deployment: Deployment) -> int:
    embedding = any(variant.embedding for variant in deployment.variants)
    return LEAST_EMBEDDING_CTX if embedding else LEAST_CTX


def _way(kind: str, choice: Choice) -> WayOut:
    text = f"{choice.variant.quant} at {tokens(choice.ctx)} fits on {where(choice)}."
    if kind == "ctx":
        return WayOut(kind="ctx", value=choice.ctx, text=text)
    return WayOut(kind="quant", value=choice.variant.quant, text=text)


def _best(search: Search, loads: list[Load]) -> Choice | None:
    """Find the first of loads that fits somewhere. Each takes less than the one before.

    Where the last of them does not fit, none does.
    """
    for place in search.places(most=MOST_PLACES) if loads else ():
        if _at(search, place, loads[-1]) is not None:
            return _first_at(search, place, loads)
    return None


def _first_at(search: Search, place: Place, loads: list[Load]) -> Choice | None:
    low, high = 0, len(loads) - 1
    while low < high:
        middle = (low + high) // 2
        if _at(search, place, loads[middle]) is None:
            low = middle + 1
        else:
            high = middle
    return _at(search, place, loads[high])


def _at(search: Search, place: Place, load: Load) -> Choice | None:
    return _first_fit(search, search.deployment, [place], load)


def _first_fit(
    search: Search, deployment: Deployment, places: list[Place], load: Load
) -> Choice | None:
    for place in places:
        for choice in loads_at(place, deployment, *load):
            fitted = search.fitted(deployment, choice)
            if fitted is not None:
                return fitted
    return None


def _floor(deployment: Deployment) -> Load:
    return deployment.variants[-1], deployment.ctx_floor


def _demands(search: Search) -> Iterator[WayOut]:
    """Yield a server that would do but for its cache type or its slots."""
    deployment = search.deployment
    if deployment.kv_types is None and deployment.parallel is None:
        return
    changed = replace(deployment, kv_types=None, parallel=None)
    places = search.places(most=MOST_PLACES)
    choice = _first_fit(search, changed, places, _floor(deployment))
    if choice is None:
        return
    slots = "1 slot" if choice.parallel == 1 else f"{choice.parallel} slots"
    has = f"cache type {choice.kv_type} and {slots}"
    text = f"With the settings of {choice.instance} it fits on {where(choice)}: {has}."
    by_type = deployment.kv_types is not None and choice.kv_type not in deployment.kv_types
    yield WayOut(kind="kv_type" if by_type else "instance", value=choice.instance, text=text)


def _offload(search: Search) -> Iterator[WayOut]:
    if search.deployment.offload_allowed:
        return
    changed = replace(search.deployment, offload_allowed=True)
    choice = _fastest(search, changed, only_split=True)
    if choice is None:
        return
    total = sum(choice.layers.values())
    said = f"With {choice.cpu_layers} of {layers(total)} on the CPU it fits on {where(choice)}"
    if choice.cpu_layers == total:
        said = f"With all {layers(total)} on the CPU it fits on {choice.node}"
    yield WayOut(kind="offload", value=choice.cpu_layers, text=f"{said}{_pace(choice)}.")


def _fastest(search: Search, deployment: Deployment, *, only_split: bool) -> Choice | None:
    """Find the fastest of what fits of the floor."""
    places = search.places(deployment, most=MOST_PLACES * 2)
    alone = [place for place in places if not place.seat.joined]
    with_gpu = [place for place in alone if place.member.gpus][:MOST_SPLIT_PLACES]
    without = [place for place in alone if not place.member.gpus][:MOST_SPLIT_PLACES]
    of_place = split_at if only_split else loads_at
    tried = [
        choice
        for place in (*with_gpu, *without)
        for choice in of_place(place, deployment, *_floor(deployment))
    ]
    tried.sort(key=_speed)
    fitted = (search.fitted(deployment, choice) for choice in tried)
    return next((choice for choice in fitted if choice is not None), None)


def _speed(choice: Choice) -> float:
    return -(choice.tokens_per_s or 0.0)


def _pace(choice: Choice) -> str:
    known = choice.tokens_per_s
    return ", at a speed that is not known" if known is None else f", at about {rate(known)}"


def _slower(search: Search) -> Iterator[WayOut]:
    least = search.deployment.min_tokens_per_s
    if not least:
        return
    choice = _fastest(search, replace(search.deployment, min_tokens_per_s=None), only_split=False)
    if choice is None:
        return
    pace = _pace(choice).removeprefix(", ")
    text = f"It fits on {where(choice)} {pace}, where at least {rate(least)} are asked for."
    known = choice.tokens_per_s
    yield WayOut(kind="speed", value=None if known is None else int(known), text=text)


def _elsewhere(search: Search) -> Iterator[WayOut]:
    deployment = search.deployment
    if deployment.pin is None and not deployment.nodes:
        return
    changed = replace(deployment, pin=None, nodes=frozenset())
    places = search.places(changed, most=3 * MOST_PLACES)
    choice = _first_fit(search, changed, places, _floor(deployment))
    if choice is not None:
        out = "its pin leaves" if deployment.pin is not None else "its nodes leave"
        text = f"It fits on {where(choice)}, which {out} out."
        yield WayOut(kind="where", value=choice.node, text=text)


def _ended(search: Search) -> Iterator[WayOut]:
    """Yield the least important deployment without which it fits."""
    deployment, placements = search.deployment, search.stage.plan.placements
    other = [
        each
        for each in placements
        if each.deployment.priority >= deployment.priority
        and each.deployment.name != deployment.name
        and not each.shares
    ]
    other.sort(key=lambda each: (-each.deployment.priority, sum(each.choice.bytes.values())))
    left = MOST_ENDED
    for each in other:
        if not left:
            return
        near = [n.choice for n in search.near if each.deployment.name in n.conflict.between]
        gone = {key_of(p) for p in placements if p is each or p.shares == each.deployment.name}
        for choice in near:
            fits = search.stage.fitted(deployment, search.refusal.replica, choice, without=gone)
            if fits is not None:
                text = f"Without {each.deployment.name} it fits on {where(fits)}."
                yield WayOut(kind="end", value=each.deployment.name, text=text)
                return
        left -= bool(near)
