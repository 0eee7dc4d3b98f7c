"""Loads whose layers the engine divides: over several GPUs, or with experts left on the host."""

from dataclasses import dataclass
from functools import lru_cache

from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import fit
from labdash.planner.ollama import fits_one_gpu
from labdash.planner.placing.forms import EXPERTS_KEPT, refusing
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
    predicted_bytes,
    settings_of,
)
from labdash.planner.placing.seats import engine_free_bytes
from labdash.planner.plan import Form
from labdash.planner.settings import HOST, Settings


@dataclass(frozen=True, slots=True)
class Division:
    """``tuned``: the usual shares do not keep the margins, so the engine found others.

    ``experts`` are blocks whose experts it leaves to the host.
    """

    settings: Settings
    tuned: bool
    experts: tuple[int, ...]

    def is_whole(self, trial: Trial) -> bool:
        """Tell whether nothing is left to the host."""
        if not self.tuned:
            return True
        on_host = any(home == HOST for _, home in self.settings.moves)
        return not on_host and self.settings.gpu_layers >= all_layers(trial.variant)


@refusing
def spread(trial: Trial) -> Found:
    """Load all layers on the GPUs of a server, where it would not take one of them."""
    if not would_spread(trial):
        return Miss(limit="gpu", text="Ollama would put it on one GPU")
    if kept_experts(trial):
        return Miss(limit="instance", text=EXPERTS_KEPT)
    division = divided(trial)
    if not division.is_whole(trial):
        return _short_together(trial)
    return _judged(trial, division, "gpus")


@refusing
def left_in_part(trial: Trial) -> Found:
    """Load what the engine finds room for on GPUs, and leave the rest to the host.

    Unlike a number of layers that is said it drives out what is in its way.
    """
    seat = trial.seat
    kept = bool(kept_experts(trial))
    if seat.rules.old or not (kept or (seat.rules.fit and not fit_is_off(trial))):
        return Miss(limit="gpu", text="the engine is told not to divide it")
    if seat.joined and not would_spread(trial):
        return Miss(limit="gpu", text="Ollama would put it on one GPU")
    division = divided(trial)
    if (division.is_whole(trial) and not kept) or not division.settings.gpu_layers:
        return Miss(limit="gpu", text="the engine leaves nothing, or all, to the host")
    return _judged(trial, division, "partial")


def would_spread(trial: Trial) -> bool:
    """Tell whether Ollama takes all GPUs of a server for a load that is not pinned."""
    variant, ctx, seat, _ = trial
    predicted = predicted_bytes(variant, ctx * seat.rules.slots_for(variant))
    fits = any(fits_one_gpu(predicted, engine_free_bytes(card)) for card in seat.cards)
    return seat.rules.spread or not fits


@lru_cache(maxsize=16_384)
def divided(trial: Trial) -> Division:
    """Divide as the engine does: by free memory, or as far as its margins allow."""
    settings, rules = settings_of(trial, sized=True), trial.seat.rules
    if not rules.fit or fit_is_off(trial):
        return Division(settings, tuned=False, experts=())
    positions = range(len(trial.seat.cards))
    targets = [rules.target_bytes(trial.variant, position) for position in positions]
    model = trial.variant.model
    fitted = fit(model, settings, margin_bytes=targets, ctx_is_free=False)
    tuned = fitted.settings.gpu_layers != settings.gpu_layers
    return Division(fitted.settings, tuned, fitted.experts_on_cpu)


def _judged(trial: Trial, division: Division, form: Form) -> Found:
    return judged(
        trial,
        form,
        division.settings,
        num_gpu=all_layers(trial.variant) if fit_is_off(trial) else None,
        experts=division.experts,
        margins=_margins_left(trial, division) if division.tuned else None,
    )


def _margins_left(trial: Trial, division: Division) -> list[int]:
    """Tell what stays free where the engine fills its GPUs: it does not know its own overhead."""
    cards = trial.seat.cards
    found = estimate(trial.variant.model, division.settings, learned=learned_of(cards))
    return [
        max(0, margin - device.overhead_bytes) if card.margin_bytes is None else margin
        for card, margin, device in zip(cards, margins_of(trial), found.devices, strict=True)
    ]


def _short_together(trial: Trial) -> Miss:
    """Tell what all GPUs together lack."""
    cards, settings = trial.seat.cards, settings_of(trial, sized=True)
    found = estimate(trial.variant.model, settings, learned=learned_of(cards))
    used = sum(device.total_bytes for device in found.devices)
    room = sum(card.room_bytes for card in cards) - sum(margins_of(trial))
    return Miss(limit="gpu", short_bytes=max(1, used - room), needed_bytes=used)
