"""Models that are loaded on demand: those of one server take turns beside what stays."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from labdash.planner.placing.eviction import Loaded, evicts, is_compared, least_free, let_in
from labdash.planner.placing.filling import (
    Conflict,
    Fill,
    Pick,
    Site,
    come_out,
    is_divided,
)
from labdash.planner.placing.outcome import all_layers
from labdash.planner.plan import Choice
from labdash.planner.telling.words import all_of

# Unless it is told otherwise Ollama holds three models a GPU. Larger crowds are not tried: there
# are too many of them.
LARGEST_CROWD = 3


def taking_turns(
    site: Site, fill: Fill, guests: Sequence[Pick], *, residents: int
) -> tuple[Loaded, ...] | Conflict:
    """Load each beside what stays. ``fill`` is what residents and other servers hold.

    ``residents`` counts those of the same server.
    """
    done: list[Loaded] = []
    for pick in guests:
        choice = let_in(site, fill, pick, is_first=not residents)
        if isinstance(choice, Conflict):
            return choice
        done.append((pick, choice))
    return _meeting(site, fill, done, residents)


def _meeting(
    site: Site, fill: Fill, done: Sequence[Loaded], residents: int
) -> tuple[Loaded, ...] | Conflict:
    """See to what happens where a guest comes while others have not left.

    Ollama unloads them only if it takes the new one for too large to come in beside them, or if
    it holds as many as it may. If it does not, the new one has to fit really; the engine must not
    move layers for its margin then.
    """
    kept: list[Loaded] = []
    for pick, choice in done:
        most = min(LARGEST_CROWD, site.rules[choice.instance].most_loaded - residents - 1)
        is_safe = most < 1 or _has_room(site, choice)
        found = choice if is_safe else _beside_others(site, fill, done, (pick, choice), most)
        if isinstance(found, Conflict):
            return found
        kept.append((pick, found))
    return tuple(kept)


def _has_room(site: Site, choice: Choice) -> bool:
    """Tell whether a guest has room, with its margin, wherever Ollama lets it in."""
    rules, sizes = site.rules[choice.instance], choice.gpu_bytes.values()
    if rules.old or not sizes:
        return True
    is_plain = len(sizes) == 1 and is_compared(choice, rules) and not is_divided(site, choice)
    return is_plain and sum(sizes) + choice.margin_bytes <= least_free(choice)


def _beside_others(
    site: Site, fill: Fill, done: Sequence[Loaded], guest: Loaded, most: int
) -> Choice | Conflict:
    """Try all whom a guest may meet on its GPUs, ``most`` at once, the fewest first.

    Where it drives some out, or those do not fit together, it never meets them and still more.
    """
    pick, choice = guest
    gpus = choice.gpu_bytes.keys()
    others = [each for each in done if each[0] is not pick and each[1].gpu_bytes.keys() & gpus]
    crowds: deque[tuple[tuple[int, ...], Fill]] = deque([((), fill)])
    settled = choice
    while crowds:
        crowd, beside = crowds.popleft()
        if not _stay(site, beside, settled):
            continue
        if crowd:
            found = _comes_in(site, beside, pick, settled)
            if found is None:
                return _squeezed(site, pick, choice, [others[number] for number in crowd])
            settled = found
        if len(crowd) < most:
            for number in range(crowd[-1] + 1 if crowd else 0, len(others)):
                crowds.append(((*crowd, number), beside.plus(site, others[number][1])))
    return settled


def _stay(site: Site, beside: Fill, choice: Choice) -> bool:
    """Tell whether all that is loaded fits together, and stays when a guest comes."""
    fits = all(beside.free(site, gpu) >= 0 for gpu in choice.gpu_bytes)
    return fits and not evicts(site, beside, choice)


def _comes_in(site: Site, beside: Fill, pick: Pick, choice: Choice) -> Choice | None:
    """Tell how a guest is loaded beside others that stay, None where that would go wrong."""
    if is_divided(site, choice):
        again = come_out(site, beside, pick)
        is_like = not isinstance(again, Conflict) and again.cpu_layers <= choice.cpu_layers
        return choice if is_like else None
    left = [beside.free(site, gpu) - size for gpu, size in choice.gpu_bytes.items()]
    if min(left) < 0:
        return None
    is_tight = min(left) < choice.margin_bytes
    every = all_layers(choice.variant)
    return replace(choice, num_gpu=every) if is_tight and choice.num_gpu is None else choice


def _squeezed(site: Site, pick: Pick, choice: Choice, crowd: Sequence[Loaded]) -> Conflict:
    names = sorted(each.deployment.name for each, _ in crowd)
    device = site.device(next(iter(choice.gpu_bytes)))
    return Conflict(
        limit="eviction",
        device=device,
        text=(
            f"{pick.deployment.name} does not fit beside {all_of(names)} on {device}, but"
            " Ollama would try, as it takes it for smaller than it is."
        ),
        between=tuple(sorted({pick.deployment.name, *names})),
    )
