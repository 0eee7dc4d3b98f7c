"""An order of loads is found whenever there is one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from random import Random

from labdash.planner.lab import Node
from labdash.planner.placement import choices
from labdash.planner.placing.eviction import in_turn, passes
from labdash.planner.placing.filling import Conflict, Fill, Pick, Same, site_of
from labdash.planner.plan import Choice
from tests.labdash.planner.small_labs import GIB, deployment, lab, node, variant

WHERE = node("rog", 24.0, 24.0)
SMALL = variant("llama3.2:1b")


def some_picks(chance: Random, where: Node) -> list[Pick]:
    """Make up loads: what they take, and what Ollama takes them for."""
    wanted = deployment(SMALL, offload_allowed=True, ctx_wish=8192)
    known = [each for each in choices(lab(where), wanted) if each.form != "gpus"]
    picks = []
    for number in range(chance.randrange(2, 6)):
        like = chance.choice(known)
        sizes = {
            device: size if device.endswith("cpu") else chance.randrange(1, 12) * GIB
            for device, size in like.bytes.items()
        }
        predicted = chance.randrange(1, 20) * GIB
        choice = replace(like, bytes=sizes, predicted_bytes=predicted, margin_bytes=0)
        picks.append(Pick(deployment=replace(wanted, name=f"d{number}"), replica=0, choice=choice))
    return picks


def succeeds(order: Sequence[Choice]) -> bool:
    """Load in one order as Ollama does, without any insight."""
    used: Counter[str] = Counter()
    for position, choice in enumerate(order):
        (device,) = choice.gpu_devices or ("rog/0",)
        free = 24 * GIB - used[device]
        is_compared = choice.form == "gpu" and position > 0
        if is_compared and choice.predicted_bytes > 0.8 * free:
            return False
        if choice.bytes.get(device, 0) > free:
            return False
        used.update({each: choice.bytes[each] for each in choice.gpu_devices})
    return True


def test_an_order_is_found_if_and_only_if_there_is_one() -> None:
    for seed in range(120):
        picks = some_picks(Random(seed), WHERE)  # noqa: S311 - any numbers do
        found = in_turn(site_of(Same(WHERE)), Fill({}), picks)
        possible = any(succeeds(order) for order in permutations([each.choice for each in picks]))
        assert isinstance(found, Conflict) is not possible, seed
        assert isinstance(found, Conflict) or succeeds([choice for _, choice in found]), seed


def test_a_large_batch_is_added_to_what_is_compared() -> None:
    (choice,) = choices(lab(node("rog", 24.0)), deployment(SMALL, ctx_wish=8192))
    free = choice.predicted_bytes * 10 // 8 + 1
    assert passes(choice, free)
    assert not passes(replace(choice, num_batch=2048), free)
    assert passes(replace(choice, num_batch=2048), free + 5 * GIB // 2)
