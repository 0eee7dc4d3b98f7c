"""The best that a place can do with a model: quant, context, layers and speed."""

from dataclasses import dataclass

from labdash.catalog.own import kept
from labdash.catalog.quality import find_quality
from labdash.planner.lab import Variant
from labdash.planner.memory.estimate import estimate
from labdash.planner.model import Model
from labdash.planner.speed import Speed
from labdash.queries.fit_loads import Fit, Load, Verdict, fit, is_slow
from labdash.queries.fit_places import Place
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.variants import own_quant, variants_of

# More than 8 bits can hardly be told from them, and below the last a quant loses much.
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_M")
# A model of each size that is published, the smallest first.
SIZES = (
    "llama3.2:1b", "qwen3:4b", "qwen3:8b", "qwen3:14b", "gpt-oss:20b", "qwen3:30b", "qwen3:32b",
    "llama3.3:70b",
)  # fmt: skip
LEAST_GOOD_QUANT = "Q4_K_S"
K = 1024


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model on a place. ``context`` is what was tried: at most what the model was trained with.

    ``short_bytes`` is what GPU and RAM lack together where nothing fits. ``speed`` is None where
    it is not known, and of a model that makes no text.
    """

    model: str
    variant: Variant
    verdict: Verdict
    context: int
    most_context: int | None
    layers: int
    all_layers: int
    speed: Speed | None
    short_bytes: int
    used_bytes: int
    by_card: tuple[int, ...]
    layers_by_card: tuple[int, ...]

    @property
    def is_good(self) -> bool:
        """Whether somebody would want it: whole, at four bits or more, as fast as one reads."""
        return (
            self.verdict == "whole"
            and not self.is_slow
            and _loss(self.variant) <= _loss_of(LEAST_GOOD_QUANT)
        )

    @property
    def is_slow(self) -> bool:
        """Whether it answers slower than one reads."""
        return is_slow(self.speed)


def _loss(variant: Variant) -> float:
    return variant.loss or 0.0


def _loss_of(quant: str) -> float:
    found = find_quality(quant)
    return found.kld if found else 0.0


@kept(1024)
def variant_at(name: str, quant: str) -> Variant:
    """Return a model at a quant. Raises ``PlannerError`` where there is none such."""
    return variants_of(name, quant, quant)[0]


@kept(256)
def quants_for(name: str) -> tuple[str, ...]:
    """Return the quants to choose among, the best first: of a model that has one, that alone."""
    own = own_quant(name)
    return (own,) if own.startswith("MXFP4") else QUANTS


@kept(4096)
def best_cell(name: str, place: Place, context: int) -> Cell:
    """Find the best quant that fits whole, else how a four-bit one is split.

    Raises ``PlannerError`` where the model is not known.
    """
    quants = quants_for(name)
    for quant in quants:
        variant = variant_at(name, quant)
        if fits_whole(variant.model, place, load_of(variant, context, place)):
            return cell_at(name, quant, place, context)
    usual = DEFAULT_QUANT if DEFAULT_QUANT in quants else quants[0]
    return cell_at(name, usual, place, context)


def advised_cell(name: str, place: Place, context: int) -> Cell:
    """Find the best quant that runs well, else what ``best_cell`` does."""
    tries = (cell_at(name, quant, place, context) for quant in quants_for(name))
    return next((each for each in tries if each.is_good), None) or best_cell(name, place, context)


@kept(256)
def good_cell(place: Place, context: int) -> Cell | None:
    """Find the largest model that runs well, in its best quant that does; None where none does."""
    tries = (
        cell_at(name, quant, place, context) for name in SIZES[::-1] for quant in quants_for(name)
    )
    return next((each for each in tries if each.is_good), None)


@kept(8192)
def cell_at(name: str, quant: str, place: Place, context: int) -> Cell:
    """Try one quant at a context. Raises ``PlannerError`` where the engine would refuse it."""
    variant = variant_at(name, quant)
    return cell_of(name, variant, place, load_of(variant, context, place))


def load_of(variant: Variant, context: int, place: Place) -> Load:
    """Return a load at a context, or at the one that the model was trained with."""
    load = Load(context=reached(variant.model, context))
    return load.seeing(variant.model, projector_bytes_on(place, variant))


def reached(model: Model, context: int) -> int:
    """Return a context, or the one that the model was trained with where that is less."""
    return min(context, model.shape.ctx_train or context)


def projector_bytes_on(place: Place, variant: Variant) -> int:
    """Size what reads images: nothing where a lab has the model without."""
    return 0 if variant.model.name in place.blind else variant.projector_bytes


def fits_whole(model: Model, place: Place, load: Load) -> bool:
    """Tell whether a model lies on the GPUs, or in the RAM of a machine without any."""
    found = estimate(model, load.on(place))
    if place.cards:
        return bool(found.fits)
    return found.host.total_bytes <= (place.ram_bytes or 0)


def cell_of(name: str, variant: Variant, place: Place, load: Load) -> Cell:
    """Try one quant. Raises ``PlannerError`` where the engine would refuse it."""
    found = fit(variant.model, place, load)
    return Cell(
        model=name,
        variant=variant,
        verdict=found.verdict,
        context=load.context,
        most_context=_rounded(found.most_context),
        layers=found.layers,
        all_layers=found.all_layers,
        speed=None if variant.embedding or found.verdict == "no" else found.speed,
        short_bytes=found.short_bytes,
        used_bytes=_used(found, place),
        by_card=tuple(device.total_bytes for device in found.used),
        layers_by_card=tuple(device.layers for device in found.used),
    )


def _rounded(context: int | None) -> int | None:
    """Round down to whole thousands, as contexts are asked for."""
    return context if context is None or context < K else context // K * K


def _used(found: Fit, place: Place) -> int:
    if not place.cards:
        return found.host_bytes
    return sum(device.total_bytes for device in found.used)
