"""Loads that a request decides: all on one GPU, some layers of it, or none."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Variant
from labdash.planner.model import Model
from labdash.planner.placing.layers import most_layers
from labdash.planner.placing.outcome import (
    Found,
    Miss,
    Trial,
    all_layers,
    fit_is_off,
    judged,
    kept_experts,
    learned_of,
    margins_of,
    settings_of,
)

type Way = Callable[[Trial], Found]

EXPERTS_KEPT = "its server leaves experts to the CPU"


def refusing(way: Way) -> Way:
    """Turn what an engine refuses into a miss, and remember what came of each load."""

    @lru_cache(maxsize=16_384)
    def of_file(trial: Trial) -> Found:
        try:
            return way(trial)
        except PlannerError as error:
            return Miss(limit="instance", text=str(error))

    @lru_cache(maxsize=16_384)
    def tried(trial: Trial) -> Found:
        found = of_file(trial._replace(variant=_file_of(trial.variant)))
        return found if isinstance(found, Miss) else replace(found, variant=trial.variant)

    return tried


def _file_of(variant: Variant) -> Variant:
    """Return what decides over a load, the same object for all variants that are alike in it."""
    return _file(
        variant.model, variant.file_bytes, variant.projector_bytes, embedding=variant.embedding
    )


@lru_cache(maxsize=4096)
def _file(
    model: Model, file_bytes: int | None, projector_bytes: int, *, embedding: bool
) -> Variant:
    return Variant(
        name=model.name,
        quant=model.quant or "",
        model=model,
        file_bytes=file_bytes,
        projector_bytes=projector_bytes,
        embedding=embedding,
    )


@refusing
def whole(trial: Trial) -> Found:
    """Load all layers on the seat's one GPU."""
    if kept_experts(trial):
        return Miss(limit="instance", text=EXPERTS_KEPT)
    num_gpu = all_layers(trial.variant) if fit_is_off(trial) else None
    return judged(trial, "gpu", settings_of(trial, sized=False), num_gpu=num_gpu)


@refusing
def on_cpu(trial: Trial) -> Found:
    """Load everything into RAM."""
    return judged(trial, "cpu", settings_of(trial, sized=False), num_gpu=0)


@refusing
def most_of_it(trial: Trial) -> Found:
    """Load as many layers on the seat's one GPU as it takes, but not all."""
    card, (margin,) = trial.seat.cards[0], margins_of(trial)
    settings = settings_of(trial, sized=False)
    gpu = replace(settings.gpus[0], free_bytes=max(0, card.room_bytes - margin))
    settings = replace(settings, gpus=(gpu,))
    settings, _ = most_layers(trial.variant.model, settings, learned=learned_of(trial.seat.cards))
    return with_layers(trial, settings.gpu_layers)


def share_of_it(quarters: int) -> Way:
    """Return how to load some quarters of the layers on the seat's one GPU."""

    def some(trial: Trial) -> Found:
        return with_layers(trial, all_layers(trial.variant) * quarters // 4)

    return some


def with_layers(trial: Trial, count: int) -> Found:
    """Load so many layers on the seat's one GPU, not none and not all."""
    if not 0 < count < all_layers(trial.variant):
        return Miss(limit="gpu", card=0, text="not one layer fits")
    return _as_said(trial._replace(gpu_layers=count))


@refusing
def _as_said(trial: Trial) -> Found:
    settings = replace(settings_of(trial, sized=False), gpu_layers=trial.gpu_layers)
    return judged(trial, "partial", settings, num_gpu=trial.gpu_layers)


SHARES = tuple(map(share_of_it, (3, 2, 1)))
