"""The whole ladder of quants of a model: size, quality, least card and best use of each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labdash.catalog.quality import Quality, find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type
from labdash.planner.model import Model
from labdash.planner.quants import needs_imatrix, weights_fallen_back
from labdash.queries.guide_making import make_command
from labdash.queries.guide_memory import least_card_gb, use_on_card
from labdash.queries.guide_models import GuideModel, elements_of, open_guide_model
from labdash.queries.opening import requantized

# The context with which a card is named.
CONTEXT = 8192
# No header of a file of a gigabyte or more is a fiftieth of it.
OTHER_MIX = 0.02
# Where more of the weights than this get another type than the mix has for them, what was measured
# of the mix says nothing. Of what was measured none did.
OTHER_TYPES = 0.05
# Models that were never published in 16 bits: what is made of them is rounded a second time.
ROUNDED_ARCHS = ("gpt-oss",)
# What each type is for. Those that are dominated have little use but where nothing else is had.
BEST_USE = {
    "F32": "for conversion; running gains nothing over 16 bits",
    "F16": "to quantize from",
    "BF16": "as most models are published; to quantize from",
    "Q8_0": "where it fits with the context you want",
    "Q6_K": "where there is more room than Q5_K_M takes, but not for Q8_0",
    "Q5_K_M": "where there is room for more than four bits, none for six",
    "Q5_K_S": "where Q5_K_M is just too large",
    "Q5_1": "old files",
    "Q5_0": "old files",
    "Q4_K_M": "the usual choice, and what most tags of Ollama's library are",
    "Q4_K_S": "where Q4_K_M is just too large",
    "Q4_1": "old files",
    "Q4_0": "CPUs and phones, which have fast code for it",
    "IQ4_NL": "models whose rows are no multiple of 256",
    "IQ4_XS": "the smallest of four bits, on a GPU",
    "MXFP4_MOE": "gpt-oss, which was trained in it",
    "Q3_K_L": "where four bits do not fit",
    "Q3_K_M": "where four bits do not fit",
    "Q3_K_S": "only where it just fits",
    "IQ3_M": "where four bits do not fit, on a GPU",
    "IQ3_S": "where four bits do not fit, on a GPU",
    "IQ3_XS": "where four bits do not fit, on a GPU",
    "IQ3_XXS": "a 32B model on 16 GB",
    "Q2_K": "in need: a smaller model is often better",
    "Q2_K_S": "in need: a smaller model is often better",
    "Q2_0": "no measurement known here",
    "IQ2_M": "very large models, in need",
    "IQ2_S": "very large models, in need",
    "IQ2_XS": "a 70B model on 24 GB, in need",
    "IQ2_XXS": "a 70B model on 24 GB with more context",
    "TQ2_0": "models trained with three values a weight",
    "TQ1_0": "models trained with three values a weight",
    "IQ1_M": "to see a very large model run at all",
    "IQ1_S": "to see a very large model run at all",
    "Q1_0": "no measurement known here",
}


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step of the ladder. ``measured`` is None where nobody measured the type.

    ``is_unlike``: what was measured of the type was another mix, or another original than this.
    ``file_bytes`` is the size of the published file that ``pull`` names where ``is_published``,
    else ``made_bytes``, the tensors' by the rules of llama-quantize, of which ``bits`` tells;
    ``shown_bits`` are those of the file that is pulled, without what reads images. ``least_gb`` is
    the smallest card that holds it at ``CONTEXT``, None where no single one does. ``is_seen``:
    somebody saw the name to pull published.
    """

    quant: str
    bits: float
    shown_bits: float
    file_bytes: int
    made_bytes: int
    is_published: bool
    measured: Quality | None
    is_unlike: bool
    best_use: str
    pull: str
    is_seen: bool
    wants_imatrix: bool
    least_gb: float | None
    is_dominated: bool = False

    @property
    def is_pulled(self) -> bool:
        """Whether files of it are published as a rule: those that were measured, or a known one."""
        return self.measured is not None or self.is_published

    @property
    def loss(self) -> Quality | None:
        """What was measured, where that holds of this file too."""
        return None if self.is_unlike else self.measured

    @property
    def guessed(self) -> bool:
        """Whether it is pulled by a name that nobody has seen published."""
        return self.is_pulled and not self.is_seen

    @property
    def is_other_mix(self) -> bool:
        """Whether the published file is another than the rules make: headers differ by less."""
        return abs(self.file_bytes / self.made_bytes - 1) > OTHER_MIX

    @property
    def command(self) -> str:
        """How to make it where nobody publishes it."""
        return make_command(self.quant, imatrix=self.wants_imatrix)


def read_ladder(name: str) -> tuple[GuideModel, list[Rung]]:
    """Return all quants that can be made of a model, the largest first. Raises ``PlannerError``."""
    model = open_guide_model(name)
    rungs = [rung for quant in FILE_TYPES if (rung := read_rung(model, quant))]
    marked = [replace(rung, is_dominated=_is_dominated(rung, rungs)) for rung in rungs]
    return model, sorted(marked, key=lambda rung: -rung.bits)


def read_rung(model: GuideModel, quant: str, *, pull: str = "") -> Rung | None:
    """Return one step, None where llama-quantize makes no such file of this model.

    ``pull`` is the name to pull, where another is asked for than the usual one.
    """
    try:
        return _rung(model, quant, pull or model.pull_name(quant))
    except PlannerError:
        return None


def _rung(model: GuideModel, quant: str, pull: str) -> Rung:
    measured = find_quality(quant)
    is_unlike = is_unlike_measured(model.plain, quant)
    file = requantized(model.plain, quant, imatrix=bool(measured and measured.imatrix))
    use = use_on_card(model, quant, CONTEXT)
    published = model.published_bytes(quant, pull)
    made = file.weight_bytes
    text = published - model.images_in(quant, pull) if published else made
    return Rung(
        quant=quant,
        bits=8 * made / model.params,
        shown_bits=8 * text / model.params,
        file_bytes=published or made,
        made_bytes=made,
        is_published=published is not None,
        measured=measured,
        is_unlike=is_unlike,
        best_use="" if is_unlike else BEST_USE.get(quant, ""),
        pull=pull,
        is_seen=not model.is_guess(quant, pull),
        least_gb=least_card_gb(use.total_bytes + (published or made) - made),
        wants_imatrix=needs_imatrix(file.tensors, find_file_type(quant)),
    )


def _is_dominated(rung: Rung, rungs: Iterable[Rung]) -> bool:
    """Tell whether a type that was measured too has no more bits and loses less."""
    kld = rung.loss.kld if rung.loss else None
    return kld is not None and any(
        other.loss and other.bits <= rung.bits and other.loss.kld < kld for other in rungs
    )


def is_unlike_measured(model: Model, quant: str) -> bool:
    """Tell whether a quant was measured as another mix, or of another original, than this model's.

    Raises ``PlannerError`` for what is no quant.
    """
    measured = find_quality(quant)
    if measured is None or is_rounded(model):
        return measured is not None
    fallen = weights_fallen_back(
        model.tensors, model.metadata, find_file_type(quant), imatrix=measured.imatrix
    )
    return fallen > OTHER_TYPES * elements_of(model)


def is_rounded(model: Model) -> bool:
    """Tell whether its weights were never published in 16 bits."""
    return model.metadata.get("general.architecture") in ROUNDED_ARCHS
