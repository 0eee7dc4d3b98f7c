"""Where Ollama up to 0.24 puts a model on a server with several GPUs: nothing can pin it.

It takes as few GPUs as hold all layers, those with the most free memory first, and fills them
from the last layer on, beginning with the least free of them. How full each gets is balanced.
"""

from collections.abc import Sequence
from dataclasses import replace

from labdash.planner.memory.caches import count_cells, layer_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.weights import parts_of
from labdash.planner.placing.forms import refusing
from labdash.planner.placing.layers import beside_bytes
from labdash.planner.placing.outcome import (
    Found,
    Miss,
    Outcome,
    Trial,
    judged,
    learned_of,
    settings_of,
)
from labdash.planner.placing.seats import engine_free_bytes
from labdash.planner.settings import Settings

# How finely the engine searches for how full the GPUs get.
ROUNDS = 20


@refusing
def gathered(trial: Trial) -> Found:
    """Load all layers on as few GPUs as hold them."""
    cards = trial.seat.cards
    order = sorted(range(len(cards)), key=lambda i: (-engine_free_bytes(cards[i]), i))
    found: Found = Miss(limit="gpu")
    for count in range(1, len(cards) + 1):
        found = _on(trial, order[:count])
        if isinstance(found, Outcome):
            return found
    return found


def _on(trial: Trial, chosen: Sequence[int]) -> Found:
    """Try some GPUs, the freest first."""
    cards = tuple(trial.seat.cards[position] for position in chosen)
    there = trial._replace(seat=replace(trial.seat, cards=cards))
    settings = settings_of(there, sized=True)
    counts = _counts(there, settings)
    if isinstance(counts, int):
        return Miss(limit="gpu", short_bytes=counts, card=chosen[0] if len(chosen) == 1 else None)
    if len(chosen) > 1:
        settings = replace(settings, tensor_split=tuple(map(float, counts)))
    found = judged(there, "gpu" if len(chosen) == 1 else "gpus", settings, num_gpu=None)
    if isinstance(found, Miss):
        card = None if found.card is None else chosen[found.card]
        return replace(found, card=card)
    return _placed(found, chosen, len(trial.seat.cards))


def _placed(found: Outcome, chosen: Sequence[int], count: int) -> Outcome:
    """Put the figures of the chosen GPUs where these stand among all."""

    def spread(values: Sequence[int]) -> tuple[int, ...]:
        at = dict(zip(chosen, values, strict=True))
        return tuple(at.get(position, 0) for position in range(count))

    return replace(
        found,
        layers=spread(found.layers),
        gpu_bytes=spread(found.gpu_bytes),
        margins=spread(found.margins),
    )


def _counts(trial: Trial, settings: Settings) -> list[int] | int:
    """Tell how many layers each GPU gets, or the bytes that they lack together."""
    sizes = _sizes(trial, settings)
    found = estimate(trial.variant.model, settings, learned=learned_of(trial.seat.cards))
    targets = [
        trial.seat.rules.target_bytes(trial.variant, position)
        for position in range(len(settings.gpus))
    ]
    usable = [
        max(0, (gpu.free_bytes or 0) - target - beside)
        for gpu, target, beside in zip(settings.gpus, targets, beside_bytes(found), strict=True)
    ]
    evenest = _filled(sizes, usable, 1.0)
    if evenest is None:
        return max(1, sum(sizes) - sum(usable))
    low, high = 0.0, 1.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        counts = _filled(sizes, usable, middle)
        low, high = (middle, high) if counts is None else (low, middle)
        evenest = counts or evenest
    return evenest


def _filled(sizes: Sequence[int], usable: Sequence[int], share: float) -> list[int] | None:
    """Fill the GPUs to a share, the last layers on the last. None where layers are left."""
    counts = [0] * len(usable)
    left = list(sizes)
    for device in range(len(usable) - 1, -1, -1):
        room = usable[device] * share
        while left and left[-1] <= room:
            room -= left.pop()
            counts[device] += 1
    return None if left else counts


def _sizes(trial: Trial, settings: Settings) -> list[int]:
    """Tell what each layer takes of a GPU, weights and cache, the output layer last."""
    model = trial.variant.model
    parts, cells = parts_of(model, ()), count_cells(model.shape, settings)
    caches = [
        layer_bytes(model.shape, layer, settings, cells, on_gpu=True)
        for layer in model.shape.layers
    ]
    caches += [0] * (len(parts.blocks) - len(caches))
    weights = [block.gpu for block in parts.blocks]
    return [*map(sum, zip(weights, caches, strict=True)), parts.output.gpu]
