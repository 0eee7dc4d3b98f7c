"""What one model takes in each format with four bits, and how fast a card could read it at most."""

from collections.abc import Sequence
from dataclasses import dataclass

from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.catalog.models import find_model
from labdash.catalog.quality import Quality, find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.formats import Awq, Format, Gptq, Mlx, Plain, weight_bytes
from labdash.planner.model import Model, Tensor
from labdash.queries.guide_models import elements_of
from labdash.queries.opening import is_file, is_remote, open_model

GIGA = 1e9
FOUR_BITS = "Q4_K_M"
# Formats beside GGUF by the key that the page knows them by.
FORMATS: dict[str, Format] = {
    "safetensors": Plain(bits=16),
    "gptq": Gptq(bits=4, group_size=128),
    "awq": Awq(bits=4, group_size=128),
    "mlx": Mlx(bits=4, group_size=64),
}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A model in one format. ``bits`` are of a parameter.

    ``ceiling`` is tokens a second of one answer, which no engine passes: each token reads every
    active weight once. None where the format does not run on the card.
    """

    bytes: int
    bits: float
    ceiling: float | None


@dataclass(frozen=True, kw_only=True)
class Formats:
    """A model in all formats, on one card. ``stored`` has a key a format, GGUF's among them."""

    name: str
    hf_repo: str
    card: GpuFacts
    stored: dict[str, Stored]
    mixture: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An average of eleven tests without examples, in percent, at 16 bits and at four."""

    model: str
    tag: str
    plain: float
    rounded: float
    gptq: float
    awq: float

    @property
    def losses(self) -> tuple[float, float, float]:
        """Tell what plain rounding, GPTQ and AWQ lose, in points."""
        return (
            round(self.plain - self.rounded, 2),
            round(self.plain - self.gptq, 2),
            round(self.plain - self.awq, 2),
        )


# intel/auto-round docs/acc.md at 06a48a43, section 2: four bits in groups of 128, nothing else
# changed between the columns.
MEASURED: Sequence[Measured] = (
    Measured(
        model="Llama 2 7B", tag="llama2:7b", plain=57.98, rounded=56.92, gptq=56.85, awq=57.35
    ),
    Measured(
        model="Llama 2 13B", tag="llama2:13b", plain=61.42, rounded=60.65, gptq=61.00, awq=60.91
    ),
    Measured(
        model="Llama 2 70B", tag="llama2:70b", plain=66.12, rounded=65.87, gptq=66.22, awq=66.23
    ),
)
# What the same width costs in GGUF, of llama.cpp's own table.
OF_GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q4_0")


def read_formats(name: str, card: str) -> Formats:
    """Work out all formats of a catalog's model. Raises ``PlannerError`` with one line."""
    facts = find_gpu(card)
    if facts is None:
        raise PlannerError(f"the catalog has no GPU {card[:60]!r}: write one as RTX 3090")
    if is_remote(name) or is_file(name):
        raise PlannerError("formats are compared for models of the catalog: write one as qwen3:8b")
    model = find_model(name).model
    plain = open_model(name, "F16").model
    four = open_model(name, FOUR_BITS).model
    stored = {"gguf": _stored(plain, [(each, each.bytes) for each in four.tensors], facts)}
    for key, kind in FORMATS.items():
        sized = [(each, weight_bytes([each], kind)) for each in plain.tensors]
        stored[key] = _stored(plain, sized, facts if runs_on(key, facts) else None)
    return Formats(
        name=model.ollama or model.name,
        hf_repo=model.hf_repo,
        card=facts,
        stored=stored,
        mixture=plain.shape.experts is not None,
    )


def runs_on(key: str, facts: GpuFacts) -> bool:
    """Tell whether an engine of the format takes a card: MLX is Apple's, GPTQ and AWQ are not."""
    return (facts.vendor == "apple") == (key == "mlx") or key == "safetensors"


def gguf_qualities() -> list[Quality]:
    """Return what was measured of GGUF files of about four bits, and of more."""
    return [row for quant in OF_GGUF if (row := find_quality(quant))]


def _stored(plain: Model, sized: Sequence[tuple[Tensor, int]], facts: GpuFacts | None) -> Stored:
    size = sum(count for _, count in sized)
    ceiling = facts.bandwidth_gbs * GIGA / _read_bytes(plain, sized) if facts else None
    return Stored(bytes=size, bits=size * 8 / elements_of(plain), ceiling=ceiling)


def _read_bytes(plain: Model, sized: Sequence[tuple[Tensor, int]]) -> float:
    """Tell what a token reads: of the experts a few, and of a token table of its own one row."""
    experts = plain.shape.experts
    used = experts.used / experts.count if experts else 1.0
    has_output = any(each.name == "output.weight" for each, _ in sized)
    idle = "token_embd.weight" if has_output else ""
    return sum(
        count * (used if "_exps" in each.name else 1.0)
        for each, count in sized
        if each.name != idle
    )
