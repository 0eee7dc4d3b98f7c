"""Which loads are tried in a place: variants, contexts and forms that a deployment admits."""

from collections.abc import Iterator
from functools import lru_cache

from labdash.planner.lab import CPU, Deployment, Lab, Node, Variant
from labdash.planner.placing.forms import SHARES, Way, most_of_it, on_cpu, whole
from labdash.planner.placing.old_engine import gathered
from labdash.planner.placing.outcome import Found, Miss, Trial
from labdash.planner.placing.seats import Member, Seat
from labdash.planner.placing.spreading import left_in_part, spread


def steps_of(deployment: Deployment, trained: int) -> tuple[int, ...]:
    """Return the contexts to try, rising: floor, wish, and all 2^k and 3 * 2^(k-1) between.

    None is longer than what the model was trained with, 0 for unknown.
    """
    floor, wish = deployment.ctx_floor, max(deployment.ctx_floor, deployment.ctx_wish)
    top = min(wish, trained) if trained else wish
    powers = [1 << k for k in range(wish.bit_length() + 1)]
    round_ones = {each for power in powers for each in (power, 3 * power // 2)}
    between = {each for each in round_ones if floor < each < top}
    return tuple(sorted({floor, top} | between)) if floor <= top else ()


def ways(deployment: Deployment, seat: Seat) -> Iterator[Found]:
    """Yield what comes of each load on a seat. What did not fit is not tried any longer."""
    for variant in deployment.variants:
        if not suits(deployment, variant, seat):
            continue
        for way in ways_at(deployment, seat):
            steps = steps_of(deployment, variant.model.shape.ctx_train)
            for ctx in _ends(steps) if way is left_in_part else steps:
                found = way(Trial(variant, ctx, seat))
                yield found
                if isinstance(found, Miss) and found.short_bytes is not None:
                    break


def _ends(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Keep floor, middle and wish: to divide a model as the engine does takes long to work out."""
    return tuple(sorted({steps[0], steps[len(steps) // 2], steps[-1]})) if steps else ()


def suits(deployment: Deployment, variant: Variant, seat: Seat) -> bool:
    """Tell whether a server gives the slots and the cache that are demanded."""
    kv_types, parallel = deployment.kv_types, deployment.parallel
    has_type = kv_types is None or seat.rules.kv_type in kv_types
    return has_type and parallel in (None, seat.rules.slots_for(variant))


def ways_at(deployment: Deployment, seat: Seat) -> tuple[Way, ...]:
    """Return the forms that are possible on a seat, the most wanted first."""
    if not seat.cards:
        return (on_cpu,) if deployment.offload_allowed else ()
    if seat.joined:
        whole_way = gathered if seat.rules.old else spread
        return (whole_way, left_in_part) if deployment.offload_allowed else (whole_way,)
    if not deployment.offload_allowed:
        return (whole,)
    left = (left_in_part,) if is_left(deployment) else ()
    return (whole, *left, most_of_it, *SHARES)


def is_left(deployment: Deployment) -> bool:
    """Tell whether it pays to leave it to the engine what of a model goes to its one GPU.

    It keeps all of a mixture but experts there. And before a load whose layers are said Ollama
    unloads nothing, so that what comes on demand would meet what came before it.
    """
    mixed = any(variant.model.shape.experts for variant in deployment.variants)
    return mixed or not deployment.resident


def is_admitted(lab: Lab, deployment: Deployment, member: Member) -> bool:
    """Tell whether a deployment may go to a place by its nodes, tags and pin."""
    wanted = deployment.nodes
    if wanted and not wanted & _labels(lab)[member.node]:
        return False
    return deployment.pin is None or deployment.pin == pin_of(member)


def pin_of(member: Member) -> str | None:
    """Write the one device of a place, None where it has several."""
    if len(member.gpus) > 1:
        return None
    return f"{member.node}/{member.gpus[0] if member.gpus else CPU}"


@lru_cache(maxsize=8)
def _labels(lab: Lab) -> dict[str, frozenset[str]]:
    return {node.name: labels_of(node) for node in lab.nodes}


def labels_of(node: Node) -> frozenset[str]:
    """Return the words that mean a node: its name and its tags."""
    return frozenset((node.name, *node.tags))
