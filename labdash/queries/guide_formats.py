"""What one model takes in each format with four bits, and how fast a card could read it at most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.catalog.models import CatalogModel, find_model
from labdash.catalog.quality import Quality, find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.formats import Awq, Format, Gptq, Mlx, Plain, weight_bytes
from labdash.planner.lab import Variant
from labdash.planner.model import Model, Tensor
from labdash.planner.telling.quoting import command
from labdash.queries.guide_cells import variant_at
from labdash.queries.guide_models import elements_of
from labdash.queries.guide_recipes import AS_PUBLISHED, awq_folder, gptq_folder, is_published_small
from labdash.queries.opening import is_remote, open_model
from labdash.queries.tag_names import base_of

GIGA = 1e9
CONTEXT = 8192
FOUR_BITS = "Q4_K_M"
BITS: dict[str, Format] = {
    "gptq": Gptq(bits=4, group_size=128),
    "awq": Awq(bits=4, group_size=128),
    "mlx": Mlx(bits=4, group_size=64),
    "safetensors": Plain(bits=16),
}

type Sizes = Sequence[tuple[Tensor, int]]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A model in one format, by the key that pages know it by. ``bits`` are of a parameter.

    ``ceiling`` is tokens a second of one answer, which no engine passes: each token reads every
    active weight once. None where the format does not run on the card. ``text`` is the command
    that runs or makes it; a GGUF file is pulled instead.
    """

    key: str
    label: str
    bytes: int
    bits: float
    ceiling: float | None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Formats:
    """A model in all formats, on one card. ``gguf`` is the file to pull.

    ``published_small``: its originals have four bits, so nobody makes GPTQ or AWQ files of it.
    """

    name: str
    card: GpuFacts
    gguf: Variant
    stored: tuple[Stored, ...]
    mixture: bool
    published_small: bool


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
MEASURED_GGUF = "llama3:8b"
OF_GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q4_0")


def read_formats(name: str, card: str) -> Formats:
    """Work out all formats of a catalog's model. Raises ``PlannerError`` with one line."""
    facts = find_gpu(card)
    if facts is None:
        raise PlannerError(f"the catalog has no GPU {card[:60]!r}: write one as RTX 3090")
    if is_remote(name):
        raise PlannerError("formats are compared for models of the catalog: write one as qwen3:8b")
    known = find_model(name).model
    plain = open_model(name, "F16").model
    small = is_published_small(known)
    gguf = variant_at(name, AS_PUBLISHED if small else FOUR_BITS)
    stored = _small_ones(known, gguf) if small else _usual_ones(known, gguf, plain)
    return Formats(
        name=known.ollama or known.name,
        card=facts,
        gguf=gguf,
        stored=tuple(_stored(plain, facts, *each) for each in stored),
        mixture=plain.shape.experts is not None,
        published_small=small,
    )


type Row = tuple[str, str, Sizes, str]


def _usual_ones(known: CatalogModel, gguf: Variant, plain: Model) -> Iterator[Row]:
    """Size a model whose originals have 16 bits."""
    yield "gguf", f"GGUF, {gguf.quant}", _as_they_are(gguf.model), ""
    served = _served(gptq_folder(known))
    yield "gptq", "GPTQ, 4 bits in groups of 128", _sized(plain, BITS["gptq"]), served
    served = _served(awq_folder(known))
    yield "awq", "AWQ, 4 bits in groups of 128", _sized(plain, BITS["awq"]), served
    yield "mlx", "MLX, 4 bits in groups of 64", _sized(plain, BITS["mlx"]), _for_mlx(known)
    served = _served(known.hf_repo)
    yield "safetensors", "safetensors, 16 bits", _sized(plain, BITS["safetensors"]), served


def _small_ones(known: CatalogModel, gguf: Variant) -> Iterator[Row]:
    """Size a model whose experts are published in MXFP4: every format keeps them so."""
    yield "gguf", "GGUF, MXFP4 as published", _as_they_are(gguf.model), ""
    label = "MLX, MXFP4 and the rest in 4 bits"
    yield "mlx", label, _beside_mxfp4(gguf.model, BITS["mlx"]), _for_mlx(known)
    sizes = _beside_mxfp4(gguf.model, BITS["safetensors"])
    yield "safetensors", "safetensors, MXFP4 as published", sizes, _served(known.hf_repo)


def _as_they_are(model: Model) -> Sizes:
    return [(each, each.bytes) for each in model.tensors]


def _sized(model: Model, kind: Format) -> Sizes:
    return [(each, weight_bytes([each], kind)) for each in model.tensors]


def _beside_mxfp4(model: Model, kind: Format) -> Sizes:
    return [
        (each, each.bytes if each.type == "mxfp4" else weight_bytes([each], kind))
        for each in model.tensors
    ]


def _served(what: str) -> str:
    return command(["vllm", "serve", what, "--max-model-len", str(CONTEXT)])


def _for_mlx(known: CatalogModel) -> str:
    options = ["-q", "--q-bits", "4", "--mlx-path", f"{base_of(known)}-4bit"]
    return command(["mlx_lm.convert", "--model", known.hf_repo, *options])


def runs_on(key: str, facts: GpuFacts) -> bool:
    """Tell whether an engine of the format takes a card: MLX is Apple's, GPTQ and AWQ are not."""
    if key == "gguf":
        return True
    return (facts.vendor == "apple") == (key == "mlx") or key == "safetensors"


def gguf_qualities() -> list[tuple[Quality, Variant]]:
    """Return what was measured of GGUF files of about four bits, and of more, and the files."""
    rows = (find_quality(quant) for quant in OF_GGUF)
    return [(row, variant_at(MEASURED_GGUF, row.quant)) for row in rows if row]


def _stored(plain: Model, facts: GpuFacts, key: str, label: str, sized: Sizes, text: str) -> Stored:
    size = sum(count for _, count in sized)
    reads = facts.bandwidth_gbs * GIGA / _read_bytes(plain, sized)
    return Stored(
        key=key,
        label=label,
        bytes=size,
        bits=size * 8 / elements_of(plain),
        ceiling=reads if runs_on(key, facts) else None,
        text=text,
    )


def _read_bytes(plain: Model, sized: Sizes) -> float:
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
