"""Names decoded into sizes and qualities, and the whole ladder of quants of a model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labdash.catalog.models import find_model
from labdash.catalog.quality import Quality, find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type
from labdash.planner.formats import Awq, Format, Gptq, Mlx, weight_bytes
from labdash.planner.quants import needs_imatrix
from labdash.queries.guide_decode import Decoded, decode
from labdash.queries.guide_memory import least_card_gb, use_on_card
from labdash.queries.guide_mix import Mix, read_mix
from labdash.queries.guide_models import GuideModel, open_guide_model
from labdash.queries.opening import requantized

# Whose numbers are shown where the name's own model is not known.
STAND_IN = "llama3.1:8b"
# The context with which a card is named.
CONTEXT = 8192
# What each type is for. Those that are dominated have little use but where nothing else is had.
BEST_USE = {
    "F32": "for conversion; running gains nothing over 16 bits",
    "F16": "to quantize from",
    "BF16": "as most models are published; to quantize from",
    "Q8_0": "where it fits with the context you want",
    "Q6_K": "there is room left beside Q5_K_M, but not for Q8_0",
    "Q5_K_M": "room for more than four bits, none for six",
    "Q5_K_S": "Q5_K_M is just too large",
    "Q5_1": "old files",
    "Q5_0": "old files",
    "Q4_K_M": "the usual choice, and what most tags of Ollama's library are",
    "Q4_K_S": "Q4_K_M is just too large",
    "Q4_1": "old files",
    "Q4_0": "CPUs and phones, which have fast code for it",
    "IQ4_NL": "models whose rows are no multiple of 256",
    "IQ4_XS": "the smallest of four bits, on a GPU",
    "MXFP4_MOE": "gpt-oss, which was trained in it",
    "Q3_K_L": "four bits do not fit",
    "Q3_K_M": "four bits do not fit",
    "Q3_K_S": "only where it just fits",
    "IQ3_M": "four bits do not fit, on a GPU",
    "IQ3_S": "four bits do not fit, on a GPU",
    "IQ3_XS": "a 32B model on 16 GB",
    "IQ3_XXS": "the last step above two bits",
    "Q2_K": "in need: a smaller model is often better",
    "Q2_K_S": "in need: a smaller model is often better",
    "Q2_0": "nobody measured it",
    "IQ2_M": "very large models, in need",
    "IQ2_S": "very large models, in need",
    "IQ2_XS": "a 70B model on 24 GB, in need",
    "IQ2_XXS": "a 70B model on 24 GB with more context",
    "TQ2_0": "models trained with three values a weight",
    "TQ1_0": "models trained with three values a weight",
    "IQ1_M": "to see a very large model run at all",
    "IQ1_S": "to see a very large model run at all",
    "Q1_0": "nobody measured it",
}
GROUPED: dict[str, Format] = {"GPTQ": Gptq(), "AWQ": Awq(), "MLX": Mlx()}


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step of the ladder. ``measured`` is None where nobody measured the type.

    ``file_bytes`` is the published size where ``is_published``, else the tensors' by the rules.
    ``least_gb`` is the smallest card that holds it at ``CONTEXT``, None where no single one does.
    """

    quant: str
    bits: float
    file_bytes: int
    is_published: bool
    measured: Quality | None
    best_use: str
    pull: str
    wants_imatrix: bool
    least_gb: float | None
    is_dominated: bool = False


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a name says. ``model`` is a stand-in where ``is_known`` is false.

    ``quant_notice`` tells where the quant comes from when the name does not say it.
    ``format_bytes`` is None where the name says no format of groups such as GPTQ.
    """

    decoded: Decoded
    model: GuideModel
    is_known: bool
    notice: str
    quant_notice: str
    rung: Rung | None
    mix: Mix | None
    format_bytes: int | None


def read_name(text: str) -> Name:
    """Decode a name, and reckon what it stands for. Raises ``PlannerError``."""
    decoded = decode(text)
    base, notice = _base(decoded)
    model = open_guide_model(base or STAND_IN)
    quant, quant_notice = _quant(decoded, model if base else None)
    made = requantized(model.plain, quant, imatrix=False) if quant else None
    kind = GROUPED.get(decoded.format)
    return Name(
        decoded=decoded,
        model=model,
        is_known=bool(base),
        notice=notice,
        quant_notice=quant_notice,
        rung=_rung(model, quant) if quant else None,
        mix=read_mix(made) if made and quant not in ("F32", "F16", "BF16") else None,
        format_bytes=weight_bytes(model.plain.tensors, kind) if kind else None,
    )


def _base(decoded: Decoded) -> tuple[str, str]:
    """Return the name of the catalog that is meant, and what was assumed; nothing for none."""
    for each in filter(None, decoded.bases):
        try:
            found = find_model(each)
        except PlannerError:
            continue
        # A family's usual size is meant only where nothing else is named.
        if not found.notice or decoded.is_bare:
            return each, found.notice or ""
    return "", ""


def _quant(decoded: Decoded, model: GuideModel | None) -> tuple[str | None, str]:
    if decoded.quant or decoded.format:
        return decoded.quant, ""
    default = model.known.default_file if model and model.known else None
    if default is None or default.quant is None or decoded.is_trained_rounded:
        return None, "The name says no quant, and LabDash does not know which file is under it."
    told = f"The name says no quant: Ollama's library has {default.quant} under this tag"
    if default.quant in FILE_TYPES:
        return default.quant, f"{told}."
    return None, f"{told}, {default.bytes / 1e9:.1f} GB."


def read_ladder(name: str) -> tuple[GuideModel, list[Rung]]:
    """Return all quants that can be made of a model, the largest first. Raises ``PlannerError``."""
    model = open_guide_model(name)
    rungs = [rung for quant in FILE_TYPES if (rung := _made(model, quant))]
    marked = [replace(rung, is_dominated=_is_dominated(rung, rungs)) for rung in rungs]
    return model, sorted(marked, key=lambda rung: -rung.bits)


def _made(model: GuideModel, quant: str) -> Rung | None:
    try:
        return _rung(model, quant)
    except PlannerError:
        # Not every type can be made of every model.
        return None


def _rung(model: GuideModel, quant: str) -> Rung:
    measured = find_quality(quant)
    file = requantized(model.plain, quant, imatrix=bool(measured and measured.imatrix))
    published = model.published_bytes(quant)
    return Rung(
        quant=quant,
        bits=8 * file.weight_bytes / model.params,
        file_bytes=published or file.weight_bytes,
        is_published=published is not None,
        measured=measured,
        best_use=BEST_USE.get(quant, ""),
        pull=model.pull_name(quant),
        least_gb=least_card_gb(use_on_card(model, quant, CONTEXT).total_bytes),
        wants_imatrix=needs_imatrix(file.tensors, find_file_type(quant)),
    )


def _is_dominated(rung: Rung, rungs: Iterable[Rung]) -> bool:
    """Tell whether a type that was measured too has no more bits and loses less."""
    kld = rung.measured.kld if rung.measured else None
    return kld is not None and any(
        other.measured and other.bits <= rung.bits and other.measured.kld < kld for other in rungs
    )
