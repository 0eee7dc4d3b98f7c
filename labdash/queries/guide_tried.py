"""A model on empty cards, as the guide's examples try it."""

from dataclasses import dataclass

from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.catalog.quality import Quality, find_quality
from labdash.planner.model import Model
from labdash.queries.fit_loads import Fit, Load, fit
from labdash.queries.fit_places import Place, what_if_place
from labdash.queries.guide_cells import K, variant_at
from labdash.queries.guide_models import elements_of
from labdash.queries.opening import open_model

CONTEXT = 8192


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A model on empty cards. ``needed_bytes`` is what it takes of them whole, context and all.

    ``room_bytes`` is what the cards hold. ``quality`` is None where nobody measured the quant.
    ``pull`` is the name to pull the file by, ``guessed`` where nobody has seen it published.
    """

    name: str
    quant: str
    pull: str
    guessed: bool
    context: int
    bits: float
    weight_bytes: int
    kv_bytes: int
    needed_bytes: int
    room_bytes: int
    fit: Fit
    quality: Quality | None

    @property
    def most_context(self) -> int:
        """Return the longest context that fits whole, in whole thousands as one asks for it."""
        most = self.fit.most_context or 0
        return most if most < K else most // K * K


def gpu_named(name: str) -> GpuFacts:
    """Find a card that the catalog has."""
    found = find_gpu(name)
    if found is None:
        raise LookupError(name)
    return found


def empty_card(name: str) -> Place:
    """Return a machine with one card and nothing loaded."""
    facts = gpu_named(name)
    return what_if_place(facts, facts.vram_gb[0])


def tried(name: str, quant: str, place: Place, context: int = CONTEXT) -> Tried:
    """Try a file; an IQ type is one that was made with an importance matrix."""
    model = open_model(name, quant, imatrix=quant.startswith("IQ")).model
    published = variant_at(name, quant)
    load = Load(context=context).seeing(model, published.projector_bytes)
    found = fit(model, place, load)
    room = sum(card.room_bytes or 0 for card in place.cards)
    whole = found.verdict == "whole"
    taken = sum(device.total_bytes for device in found.used)
    return Tried(
        name=name,
        quant=quant,
        pull=published.name,
        guessed=published.guessed,
        context=context,
        bits=bits_of(model),
        weight_bytes=model.weight_bytes,
        kv_bytes=sum(device.kv_bytes for device in found.used) + found.estimate.host.kv_bytes,
        needed_bytes=taken if whole else room + found.short_bytes,
        room_bytes=room,
        fit=found,
        quality=find_quality(quant),
    )


def bits_of(model: Model) -> float:
    """Tell the bits of a parameter, all tensors counted."""
    return model.weight_bytes * 8 / elements_of(model)
