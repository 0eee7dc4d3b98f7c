"""Popular claims that are wrong, each with the right number."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from labdash.catalog.gpus import GpuFacts
from labdash.catalog.hardware import mac_limit_mib, mac_share_bytes
from labdash.catalog.models import CatalogModel, PublishedFile, find_model, models
from labdash.catalog.own import kept
from labdash.catalog.quality import Quality, find_quality
from labdash.planner.ollama import CONTEXT_TIERS
from labdash.planner.speed import Speed
from labdash.queries.fit_loads import Load, speed_of
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import variant_at
from labdash.queries.guide_tried import CONTEXT, Tried, bits_of, empty_card, gpu_named, tried
from labdash.queries.opening import open_model
from labdash.queries.tag_names import recorded_repository

BILLION = 1e9
SEVENTY, EIGHT = "llama3.3:70b", "llama3.1:8b"
MIXTURE, DENSE = "qwen3:30b", "qwen3:32b"
# RAM in GB/s: two channels of DDR4-3200, and of DDR5-5600.
RAM_GBS = (51.2, 89.6)
# Shares of the layers that stay on the CPU.
ON_CPU = (0.0, 0.1, 0.2, 0.5, 1.0)
MACS_GIB = (16, 32, 64, 96)
# Files that are called alike and are not.
ALIKE = (("qwen3:8b", "Q4_K_M"), ("qwen3:1.7b", "Q4_K_M"), ("gpt-oss:20b", "MXFP4"))


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A file type as a list of tensor types with their counts, and its bits of a parameter."""

    name: str
    quant: str
    pull: str
    guessed: bool
    bits: float
    bytes: int
    types: tuple[tuple[str, int], ...]
    quality: Quality | None


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The context that Ollama takes by itself from so many bytes of GPUs on."""

    least_bytes: int
    context: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model on two cards, and on one of twice their size."""

    two: Tried
    one: Tried

    @property
    def more_bytes(self) -> int:
        """Tell what two cards take more."""
        return self.two.needed_bytes - self.one.needed_bytes


@dataclass(frozen=True, kw_only=True)
class Spilled:
    """A share of the layers on the CPU, and the tokens a second that are left."""

    layers: int
    all_layers: int
    speed: Speed | None

    @property
    def on_cpu(self) -> int:
        """Count the layers in RAM."""
        return self.all_layers - self.layers


@dataclass(frozen=True, kw_only=True)
class Mac:
    """What macOS lets the GPU use of so much memory, and what it may be told to."""

    ram_gib: int
    share_bytes: int
    limit_mib: int | None


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Files of one label that differ in size, each with the name that pulls it and no other."""

    name: str
    files: tuple[tuple[PublishedFile, str], ...]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """What the page's claims are answered with. Numbers of weights are in billions."""

    seventy: tuple[Tried, ...]
    contexts: tuple[Tried, ...]
    mixes: tuple[Mix, ...]
    simple: tuple[Mix, ...]
    defaults: tuple[tuple[str, int], ...]
    tiers: tuple[Tier, ...]
    macs: tuple[Mac, ...]
    pairs: tuple[Pair, ...]
    mixture: Tried
    mixture_total: float | None
    mixture_active: float | None
    dense: Tried
    spilled: tuple[Spilled, ...]
    large_small: tuple[Tried, Tried]
    cards: tuple[tuple[GpuFacts, Tried], ...]
    tags: tuple[str, ...]
    alike: tuple[Alike, ...]

    @property
    def both(self) -> tuple[Tried, Tried]:
        """Return the mixture beside a dense model that takes as much."""
        return self.mixture, self.dense

    @property
    def on_two(self) -> tuple[Tried, ...]:
        """Return what was tried on two cards."""
        return tuple(pair.two for pair in self.pairs)

    @property
    def defaults_in_all(self) -> int:
        """Count the tags of which is known what they hold."""
        return sum(count for _, count in self.defaults)


@kept(1)
def read_mistakes() -> Mistakes:
    """Work out all numbers; they follow from the catalog alone."""
    big, small = empty_card("RTX 3090"), empty_card("RTX 4060")
    return Mistakes(
        seventy=tuple(
            tried(SEVENTY, quant, big) for quant in ("Q4_K_M", "Q3_K_S", "Q2_K", "IQ2_XS")
        ),
        contexts=tuple(
            tried(EIGHT, "Q4_K_M", small, context) for context in (4096, 16_384, 32_768, 131_072)
        ),
        mixes=tuple(_mix(quant) for quant in ("Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M")),
        simple=tuple(_mix(quant) for quant in ("Q8_0", "Q6_K", "Q4_K_S", "Q4_0")),
        defaults=tuple(_default_quants().most_common()),
        tiers=tuple(Tier(least_bytes=least, context=ctx) for least, ctx in reversed(CONTEXT_TIERS)),
        macs=tuple(
            Mac(ram_gib=ram, share_bytes=mac_share_bytes(ram), limit_mib=mac_limit_mib(ram))
            for ram in MACS_GIB
        ),
        pairs=tuple(_pair(big, quant) for quant in ("Q4_K_S", "Q4_K_M")),
        mixture=tried(MIXTURE, "Q4_K_M", big),
        mixture_total=_billions(find_model(MIXTURE).model.params_total),
        mixture_active=_billions(find_model(MIXTURE).model.params_active),
        dense=tried(DENSE, "Q4_K_M", big),
        spilled=tuple(_spilled(big)),
        large_small=(tried(SEVENTY, "IQ2_XS", big), tried(EIGHT, "F16", big)),
        cards=tuple(_card(name) for name in ("RTX 4090", "RTX 5090")),
        tags=tuple(_tags("llama3.2")),
        alike=tuple(_alike(name, quant) for name, quant in ALIKE),
    )


def _billions(count: int | None) -> float | None:
    return None if count is None else count / BILLION


def _mix(quant: str) -> Mix:
    model, published = open_model(EIGHT, quant).model, variant_at(EIGHT, quant)
    counts = Counter(each.type for each in model.tensors if len(each.shape) > 1)
    return Mix(
        name=EIGHT,
        quant=quant,
        pull=published.name,
        guessed=published.guessed,
        bits=bits_of(model),
        bytes=model.weight_bytes,
        types=tuple(counts.most_common()),
        quality=find_quality(quant),
    )


def _default_quants() -> Counter[str]:
    """Count what the library's own tags hold, where their file is known."""
    return Counter(quant for each in models() if (quant := each.default_quant))


def _pair(place: Place, quant: str) -> Pair:
    (card,) = place.cards
    room = card.room_bytes or 0
    joined = replace(card, room_bytes=2 * room, total_bytes=2 * (card.total_bytes or 0))
    return Pair(
        two=tried(SEVENTY, quant, replace(place, cards=(card, card))),
        one=tried(SEVENTY, quant, replace(place, cards=(joined,))),
    )


def _spilled(place: Place) -> Iterator[Spilled]:
    model = open_model(DENSE, "Q4_K_M").model
    beside = replace(place, ram_gbs=RAM_GBS)
    all_layers = model.shape.block_count + 1
    for share in ON_CPU:
        layers = round(all_layers * (1 - share))
        settings = replace(Load(context=CONTEXT).on(beside), gpu_layers=layers)
        yield Spilled(layers=layers, all_layers=all_layers, speed=speed_of(model, beside, settings))


def _card(name: str) -> tuple[GpuFacts, Tried]:
    return gpu_named(name), tried("qwen3:8b", "Q4_K_M", empty_card(name))


def _tags(family: str) -> Iterator[str]:
    for each in models():
        if each.ollama and each.ollama.startswith(f"{family}:"):
            yield each.ollama


def _alike(name: str, quant: str) -> Alike:
    known = find_model(name).model
    files = [each for each in known.files if each.quant == quant]
    files.sort(key=lambda each: each.bytes)
    return Alike(name=name, files=tuple((each, _name_of(known, each)) for each in files))


def _name_of(known: CatalogModel, file: PublishedFile) -> str:
    """Return what pulls a file: the library's tag, or its own publisher's repository."""
    if file.file == known.ollama:
        return file.file
    repository = recorded_repository(replace(known, files=(file,)), file.quant or "")
    return f"hf.co/{repository}:{file.quant}"
