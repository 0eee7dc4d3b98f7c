"""What can be pulled of the model that somebody named: its quants, with names, sizes and losses."""

from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.catalog.quality import Quality, find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Variant
from labdash.planner.model import Model
from labdash.planner.placing.inventory import is_cloud, plain
from labdash.queries.fit import kept_facts, published
from labdash.queries.fit_files import unpack
from labdash.queries.fit_models import Chosen
from labdash.queries.opening import requantized
from labdash.queries.published import can_be_asked
from labdash.queries.quant_ladder import every, known_quant, loss_of, worth
from labdash.queries.shelf import Shelf
from labdash.queries.tag_names import is_on_hub, repository_of
from labdash.queries.variants import family_of, own_quant
from labdash.sources.registry import PROJECTOR_LAYER, Manifest

# Nobody could tell a smaller difference of the mean KL divergence: F16 and Q8_0 differ by less.
SAME_QUALITY = 0.002
ASKING = "neither the catalog nor the lab knows it: its header is read from where it is published"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One quant that can be pulled. ``worth`` is for comparisons only: less is better."""

    variant: Variant
    quality: Quality | None
    worth: float

    @property
    def name(self) -> str:
        """Return the name to pull."""
        return self.variant.name

    @property
    def less_sure(self) -> float | None:
        """Tell by which share its perplexity is above that of 16 bits, None if not measured."""
        plain = find_quality("F16")
        return self.quality.ppl_8b / plain.ppl_8b - 1 if self.quality and plain else None


@dataclass(frozen=True, kw_only=True)
class Family:
    """The offers, best first. ``own`` is the quant that the name itself stands for.

    ``is_asking``: nobody here knows the model, and its registry was not asked yet. ``basis`` says
    by what sizes are told.
    """

    name: str
    own: str
    offers: tuple[Offer, ...]
    basis: str
    is_asking: bool = False

    @property
    def top_ctx(self) -> int:
        """Return the longest context that it was trained with, 0 for unknown."""
        return self.offers[0].variant.model.shape.ctx_train if self.offers else 0


def read_family(name: str, shelf: Shelf, *, look: bool) -> Family:
    """Find what a name stands for; ``look``: where it is published, if nobody here knows it.

    Raises ``PlannerError`` with one line.
    """
    try:
        variants, own = family_of(name, shelf=shelf), own_quant(name, shelf=shelf)
    except PlannerError as error:
        if is_cloud(name) or plain(name) in shelf.cloud or not can_be_asked(name):
            raise
        return _elsewhere(name, error, look=look)
    return Family(
        name=name,
        own=own,
        offers=tuple(map(_offer, variants)),
        basis="by the catalog's shape and the rules of llama-quantize",
    )


def _elsewhere(name: str, error: PlannerError, *, look: bool) -> Family:
    """Take a model that only a registry knows. Raises ``PlannerError``."""
    facts = kept_facts(name)
    if facts is None and not look:
        return Family(name=name, own="", offers=(), basis=ASKING, is_asking=True)
    try:
        facts = facts or published(name)
    except PlannerError as failed:
        raise PlannerError(f"{error}; and {failed}") from None
    chosen = unpack(facts)
    model = chosen.model
    own = known_quant(model.quant) or model.quant or ""
    quants = every(own, arch=model.shape.arch) if is_on_hub(name) and known_quant(own) else (own,)
    made = [(quant, _at(facts, quant, own)) for quant in quants]
    offers = [
        _offer(_variant(name, quant, own, found, chosen))
        for quant, found in made
        if found is not None
    ]
    basis = f"by the {len(model.tensors)} tensors that its file lists"
    return Family(name=name, own=own, offers=tuple(offers), basis=basis)


@lru_cache(maxsize=256)
def _at(facts: str, quant: str, own: str) -> Model | None:
    """Make a model at another quant, one object each; None where there is none such."""
    model = unpack(facts).model
    if quant == own:
        return model
    try:
        return requantized(model, quant, imatrix=False)
    except PlannerError:
        return None


@lru_cache(maxsize=256)
def _variant(name: str, quant: str, own: str, model: Model, like: Chosen) -> Variant:
    tag = f"{repository_of(name)}:{quant.removesuffix('_MOE')}"
    written = name if quant == own else tag
    return Variant(
        name=written,
        quant=quant,
        model=model,
        file_bytes=model.weight_bytes + like.projector_bytes,
        names=frozenset((written, tag)) if is_on_hub(name) else frozenset((written,)),
        loss=loss_of(quant),
        guessed=model is not like.model,
        projector_bytes=like.projector_bytes,
        vision=bool(like.projector_bytes),
    )


def _offer(variant: Variant) -> Offer:
    quality = find_quality(variant.quant)
    return Offer(
        variant=variant, quality=quality, worth=worth(variant.quant, variant.model.shape.arch)
    )


def as_published(offer: Offer, manifest: Manifest) -> Offer:
    """Take the digest and the sizes that a registry tells, instead of reckoned ones."""
    weights = manifest.weights
    digest = weights.digest.removeprefix("sha256:") if weights else None
    projector = sum(each.bytes for each in manifest.layers if each.kind == PROJECTOR_LAYER)
    return replace(offer, variant=_told(offer.variant, digest, manifest.bytes, projector or None))


@lru_cache(maxsize=1024)
def _told(variant: Variant, digest: str | None, size: int, projector: int | None) -> Variant:
    """Write it into a variant, one object each: what was worked out for it is kept by that."""
    return replace(
        variant,
        digest=digest or variant.digest,
        file_bytes=size,
        guessed=False,
        projector_bytes=projector or variant.projector_bytes,
    )


def is_own(offer: Offer, family: Family) -> bool:
    """Tell whether an offer is what the name itself stands for."""
    return offer.variant.quant == family.own or plain(offer.name) == plain(family.name)
