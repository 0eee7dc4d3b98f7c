"""In which order models are loaded, so that Ollama evicts none of them.

Before each load but the first of a server, Ollama compares what it takes the model for with 80 %
of what is free on the GPUs that it would go to. What is loaded sooner leaves less for that
comparison: on one GPU a load may begin as long as ``before <= free - predicted / 0.8``, so those
go first that bear the least before them. That is the rule of the earliest due date, with bytes
for time, and it finds an order whenever there is one. The first load is not compared at all.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, permutations

from labdash.planner.ollama import GIB, MOST_SHARE, batch_surcharge
from labdash.planner.placing.engine import Rules
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

# Of loads that the engine divides hardly ever more than two share a server.
MOST_ORDERS = 6

type Loaded = tuple[Pick, Choice]


def is_compared(choice: Choice, rules: Rules) -> bool:
    """Tell whether Ollama compares before a load. Up to 0.24 it reckons with what really fits."""
    some = choice.num_gpu is not None and choice.num_gpu < all_layers(choice.variant)
    return not rules.old and choice.form != "cpu" and not some


def wanted_bytes(choice: Choice) -> int:
    """Tell what Ollama takes a load for, with what it adds for a large batch."""
    return choice.predicted_bytes + batch_surcharge(choice.num_batch)


def passes(choice: Choice, free_bytes: int) -> bool:
    """Tell whether Ollama loads without evicting. ``free_bytes`` is of the GPUs it would go to."""
    return free_bytes >= least_free(choice)


def least_free(choice: Choice) -> int:
    """Tell how many bytes have to be free where a load is compared."""
    return -(-wanted_bytes(choice) * 100 // MOST_SHARE)


def evicts(site: Site, fill: Fill, choice: Choice) -> bool:
    """Tell whether a load would drive out another of its server."""
    free = sum(max(0, fill.free(site, gpu)) for gpu in choice.gpu_bytes)
    return is_compared(choice, site.rules[choice.instance]) and not passes(choice, free)


def in_turn(site: Site, fill: Fill, picks: Sequence[Pick]) -> tuple[Loaded, ...] | Conflict:
    """Load all that stays on one server, in the first order in which nothing is driven out."""
    if not picks:
        return ()
    worst: Conflict | None = None
    is_fixed = not any(is_divided(site, pick.choice) for pick in picks)
    for order in _orders(site, picks):
        found = _loaded(site, fill, order)
        # Where nothing is divided, sums of memory are the same in any order.
        if not isinstance(found, Conflict) or (is_fixed and found.limit != "eviction"):
            return found
        worst = worst or found
    assert worst is not None  # noqa: S101 - there is an order of any picks
    return worst


def _loaded(site: Site, fill: Fill, order: Sequence[Pick]) -> tuple[Loaded, ...] | Conflict:
    """Load one after the other."""
    done: list[Loaded] = []
    for pick in order:
        choice = let_in(site, fill, pick, is_first=not done)
        if isinstance(choice, Conflict):
            return choice
        done.append((pick, choice))
        fill = fill.plus(site, choice)
    return tuple(done)


def let_in(site: Site, fill: Fill, pick: Pick, *, is_first: bool) -> Choice | Conflict:
    """Tell what becomes of a load that is to drive out none of its server."""
    choice = come_out(site, fill, pick)
    if not isinstance(choice, Conflict) and not is_first and evicts(site, fill, choice):
        return _eviction(site, fill, pick, choice)
    return choice


def _eviction(site: Site, fill: Fill, pick: Pick, choice: Choice) -> Conflict:
    """Tell with figures why a load would drive out another."""
    gpus = choice.gpu_bytes
    free = sum(max(0, fill.free(site, gpu)) for gpu in gpus)
    device, wanted = site.device(next(iter(gpus))), wanted_bytes(choice) / GIB
    return Conflict(
        limit="eviction",
        device=device,
        short_bytes=least_free(choice) - free,
        text=(
            f"Ollama takes {choice.variant.name} for {wanted:.1f} GiB, more than"
            f" {MOST_SHARE} % of the {free / GIB:.1f} GiB that are left on"
            f" {all_of(map(site.device, gpus))}, and would unload another model first."
        ),
        between=(pick.deployment.name,),
    )


def _orders(site: Site, picks: Sequence[Pick]) -> Iterator[tuple[Pick, ...]]:
    """Yield the orders to try."""
    divided = sorted((p for p in picks if is_divided(site, p.choice)), key=_patience)
    fixed = [p for p in picks if not is_divided(site, p.choice)]
    compared = sorted((p for p in fixed if _is_compared(site, p)), key=_patience)
    rest = sorted((p for p in fixed if not _is_compared(site, p)), key=lambda p: p.rank)
    for some in islice(permutations(divided), MOST_ORDERS) if divided else ():
        yield (*some, *compared, *rest)
    for first in (None, *compared):
        others = [each for each in compared if each is not first]
        yield (*([first] if first else []), *others, *divided, *rest)


def _is_compared(site: Site, pick: Pick) -> bool:
    return is_compared(pick.choice, site.rules[pick.choice.instance])


def _patience(pick: Pick) -> tuple[int, object]:
    """Tell what may be loaded before a load: those that bear the least come first."""
    choice = pick.choice
    used = sum(choice.gpu_bytes.values())
    return used - wanted_bytes(choice) * 100 // MOST_SHARE, pick.rank
