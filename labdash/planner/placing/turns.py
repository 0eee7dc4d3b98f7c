"""Models that are loaded on demand: those of one server take turns beside what stays."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from labdash.planner.placing.eviction import Loaded, eviction_of, evicts
from labdash.planner.placing.filling import (
    Conflict,
    Fill,
    Pick,
    Site,
    come_out,
    gpus_of,
    is_divided,
)
from labdash.planner.placing.outcome import all_layers
from labdash.planner.plan import Choice

# More than three guests at once are seen to be too many for a GPU without trying.
MOST_AT_ONCE = 3


def taking_turns(
    site: Site, fill: Fill, guests: Sequence[Pick], *, has_residents: bool
) -> tuple[Loaded, ...] | Conflict:
    """Load each beside what stays. ``fill`` is what residents and other servers hold."""
    done: list[Loaded] = []
    for pick in guests:
        choice = come_out(site, fill, pick)
        if isinstance(choice, Conflict):
            return choice
        if has_residents and evicts(site, fill, choice):
            return eviction_of(site, fill, pick, choice)
        done.append((pick, choice))
    return _meeting(site, fill, done)


def _meeting(site: Site, fill: Fill, done: Sequence[Loaded]) -> tuple[Loaded, ...] | Conflict:
    """See to what happens where a guest comes while others have not left.

    Ollama unloads them only if it takes the new one for too large to come in beside them. If it
    does not, the new one has to fit really; the engine must not move layers for its margin then.
    """
    kept: list[Loaded] = []
    for pick, choice in done:
        settled = choice
        for crowd in _crowds(done, pick, choice):
            beside = fill
            for _, other in crowd:
                beside = beside.plus(site, other)
            found = _comes_in(site, beside, pick, settled)
            if found is None:
                return _squeezed(site, pick, choice, crowd)
            settled = found
        kept.append((pick, settled))
    return tuple(kept)


def _crowds(done: Sequence[Loaded], pick: Pick, choice: Choice) -> Iterator[tuple[Loaded, ...]]:
    """Yield whom a guest may meet on its GPUs."""
    gpus = gpus_of(choice).keys()
    others = [each for each in done if each[0] is not pick and gpus_of(each[1]).keys() & gpus]
    for count in range(1, min(len(others), MOST_AT_ONCE) + 1):
        yield from combinations(others, count)


def _comes_in(site: Site, beside: Fill, pick: Pick, choice: Choice) -> Choice | None:
    """Tell how a guest is loaded beside others, None where that would go wrong."""
    free = {gpu: beside.free(site, gpu) for gpu in gpus_of(choice)}
    are_there = all(each >= 0 for each in free.values())
    if not are_there or site.rules[choice.instance].old or evicts(site, beside, choice):
        return choice
    if is_divided(site, choice):
        again = come_out(site, beside, pick)
        is_like = not isinstance(again, Conflict) and again.cpu_layers <= choice.cpu_layers
        return choice if is_like else None
    sizes = gpus_of(choice)
    if any(size > free[gpu] for gpu, size in sizes.items()):
        return None
    is_tight = any(size + choice.margin_bytes > free[gpu] for gpu, size in sizes.items())
    every = all_layers(choice.variant)
    return replace(choice, num_gpu=every) if is_tight and choice.num_gpu is None else choice


def _squeezed(site: Site, pick: Pick, choice: Choice, crowd: Sequence[Loaded]) -> Conflict:
    names = sorted(each.deployment.name for each, _ in crowd)
    device = site.device(next(iter(gpus_of(choice))))
    return Conflict(
        limit="eviction",
        device=device,
        short_bytes=None,
        text=(
            f"{pick.deployment.name} does not fit beside {' and '.join(names)} on {device}, but"
            " Ollama would try, as it takes it for smaller than it is."
        ),
        between=tuple(sorted({pick.deployment.name, *names})),
    )
