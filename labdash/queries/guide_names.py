"""Names decoded into sizes and qualities, and what of a name can be pulled."""

from collections.abc import Callable
from dataclasses import dataclass

from labdash.catalog.models import find_model
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.planner.formats import Awq, Format, Gptq, Mlx, weight_bytes
from labdash.queries.guide_decode import Decoded, decode
from labdash.queries.guide_ladder import Rung, read_rung
from labdash.queries.guide_making import CONVERTED
from labdash.queries.guide_mix import Mix, read_mix
from labdash.queries.guide_models import GuideModel, open_guide_model
from labdash.queries.guide_paste import SUCH_AS

# Whose numbers are shown where the name's own model is not known.
STAND_IN = "llama3.1:8b"
# What Ollama takes of a repository of Hugging Face whose name says no quant: its documentation at
# huggingface.co/docs/hub/ollama.
OF_REPOSITORY = "Q4_K_M"
GROUPED: dict[str, Callable[[int], Format]] = {
    "GPTQ": Gptq,
    "AWQ": Awq,
    "MLX": Mlx,
}
# The bits of formats whose names need not say them.
USUAL_BITS = {"FP8": 8, "NVFP4": 4, "bitsandbytes": 4, "GPTQ": 4, "AWQ": 4, "MLX": 4}
# The GGUF type that is nearest to so many bits.
NEAREST_GGUF = {8: "Q8_0", 6: "Q6_K", 5: "Q5_K_M", 4: "Q4_K_M", 3: "Q3_K_M", 2: "Q2_K"}
LONGEST_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a name says. ``model`` is a stand-in where ``is_known`` is false.

    ``notices`` are sentences on what was assumed and what the name does not say. ``rung`` is the
    quant that is named, or where another than GGUF is named, what is nearest to it. ``pull`` is
    what can be pulled, nothing where nothing is known that can. ``format_bytes`` is None but for
    formats of groups such as GPTQ, of ``format_bits``.
    """

    decoded: Decoded
    model: GuideModel
    is_known: bool
    notices: tuple[str, ...]
    rung: Rung | None
    mix: Mix | None
    pull: str
    format_bits: int | None
    format_bytes: int | None


def read_name(text: str) -> Name:
    """Decode a name, and reckon what it stands for. Raises ``PlannerError``."""
    decoded = decode(text)
    _require_sense(decoded)
    base, assumed = _base(decoded)
    model, unknown = _opened(base)
    own = model if base and not unknown else None
    quant, notice = _quant(decoded, own)
    named = _named(decoded, base)
    rung = read_rung(model, quant, pull=named) if quant else None
    bits = decoded.bits or USUAL_BITS.get(decoded.format)
    made = GROUPED.get(decoded.format)
    notices = (assumed, unknown, notice, _unmade(model, quant, rung), _not_trained(decoded, named))
    return Name(
        decoded=decoded,
        model=model,
        is_known=own is not None,
        notices=tuple(filter(None, notices)),
        rung=rung,
        mix=_mix(model, quant) if rung else None,
        pull=named or (_usual_pull(own, rung) if own else ""),
        format_bits=bits,
        format_bytes=weight_bytes(model.plain.tensors, made(bits)) if made and bits else None,
    )


def _usual_pull(model: GuideModel, rung: Rung | None) -> str:
    """Return what is pulled for want of what was named; nothing where it can only be made."""
    if rung is None:
        return model.pull_name(OF_REPOSITORY)
    return rung.pull if rung.is_pulled else ""


def _require_sense(decoded: Decoded) -> None:
    if not decoded.says_something:
        shown = decoded.pasted.path[:LONGEST_SHOWN]
        raise PlannerError(
            f'LabDash knows no word of "{shown}": paste a name of a model, {SUCH_AS}'
        )


def _base(decoded: Decoded) -> tuple[str, str]:
    """Return the name of the catalog that is meant, and what was assumed; nothing for none."""
    for each in filter(None, decoded.bases):
        try:
            found = find_model(each)
        except PlannerError:
            continue
        # A family's usual size is meant only where nothing else is named.
        if not found.notice:
            return each, ""
        if decoded.is_bare:
            return each, f"{found.notice[:1].upper()}{found.notice[1:]}."
    return "", ""


def _named(decoded: Decoded, base: str) -> str:
    """Return the name as Ollama pulls it, nothing where it pulls none such.

    A tag is believed only where its family is the library's and every word of it is known.
    """
    is_no_quant = bool(decoded.written) and decoded.quant is None
    if decoded.is_cloud or is_no_quant or "mmproj" in decoded.words:
        return ""
    if not decoded.pasted.is_library:
        return decoded.pull
    family = (find_model(base).model.ollama or "").partition(":")[0] if base else ""
    is_tag = decoded.pasted.name.lower() == family and all(each.is_known for each in decoded.pieces)
    return decoded.pull if is_tag else ""


def _not_trained(decoded: Decoded, named: str) -> str:
    if "qat" not in decoded.words or named:
        return ""
    return "What is pulled here was rounded after training: its maker publishes the other one."


def _opened(base: str) -> tuple[GuideModel, str]:
    """Open what is meant, or else a stand-in with a sentence that tells why, where there is one."""
    if not base:
        return open_guide_model(STAND_IN), ""
    try:
        return open_guide_model(base), ""
    except PlannerError:
        return open_guide_model(STAND_IN), (
            f"The catalog has {base}, but no shape of its tensors: its size is not reckoned here."
        )


def _quant(decoded: Decoded, model: GuideModel | None) -> tuple[str | None, str]:
    """Return the quant to show, and a sentence on where it comes from if the name says none."""
    if "mmproj" in decoded.words:
        return None, "It is a second file beside a model, a small one: the quant is that of itself."
    if decoded.is_cloud:
        return _of_cloud(model)
    if decoded.format:
        return _of_format(decoded, model)
    if decoded.written:
        return decoded.quant, "" if decoded.quant else _no_quant(decoded.written)
    if decoded.pasted.hub_place:
        return _of_hub(decoded, model)
    return _of_library(decoded, model)


def _no_quant(written: str) -> str:
    if written.upper() == "Q8_K":
        return "Q8_K is what llama.cpp computes with, no type of files: Q8_0 is the one of 8 bits."
    return f"{written} is no quant that llama-quantize makes."


def _of_cloud(model: GuideModel | None) -> tuple[str | None, str]:
    told = "It runs in Ollama's cloud: no file of it is pulled."
    if model is None:
        return None, told
    default = model.known.default_file if model.known else None
    return _type_of(default.quant if default else None), (
        f"{told} For your own machines there is {model.name}."
    )


def _of_format(decoded: Decoded, model: GuideModel | None) -> tuple[str | None, str]:
    if decoded.format == "GGML":
        told = "It is GGML, the format before GGUF, which Ollama and llama.cpp no longer load."
    else:
        told = "It is no GGUF, which is all that Ollama and llama.cpp load."
    if model is None:
        return None, told
    bits = decoded.bits or USUAL_BITS.get(decoded.format, 4)
    quant = decoded.quant or NEAREST_GGUF.get(bits, OF_REPOSITORY)
    return quant, f"{told} The nearest that they do is {quant}: the figures are its."


def _of_hub(decoded: Decoded, model: GuideModel | None) -> tuple[str | None, str]:
    quant = OF_REPOSITORY if model else None
    if decoded.pasted.is_gguf:
        return quant, (
            f"The name says no quant: Ollama takes {OF_REPOSITORY} of such a repository if it has "
            "that, and else one that it chooses."
        )
    told = (
        "It names a repository and no GGUF, which is all that Ollama and llama.cpp load: most such "
        "hold the original weights."
    )
    return quant, f"{told} The figures are those of {quant}, the usual choice." if model else told


def _of_library(decoded: Decoded, model: GuideModel | None) -> tuple[str | None, str]:
    if model is None:
        return None, ""
    default = model.known.default_file if model.known else None
    is_own = decoded.is_bare or decoded.pasted.path.lower() == model.name
    if default is None or default.quant is None or not is_own:
        return None, "The name says no quant, and LabDash does not know which file is under it."
    told = f"The name says no quant: Ollama's library has {default.quant} under this tag"
    return _type_of(default.quant), f"{told}, {default.bytes / 1e9:.1f} GB."


def _type_of(quant: str | None) -> str | None:
    try:
        return find_file_type(quant).name if quant else None
    except PlannerError:
        return None


def _unmade(model: GuideModel, quant: str | None, rung: Rung | None) -> str:
    if not quant or rung:
        return ""
    return f"llama-quantize makes no {quant} of {model.name}: its rows are no multiple of a group."


def _mix(model: GuideModel, quant: str | None) -> Mix | None:
    if not quant or quant in CONVERTED:
        return None
    return read_mix(model.plain, quant)
