"""Why memory decides: bits times parameters, and what a model takes of a card beside them."""

from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.catalog.engines import newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu, gpus
from labdash.catalog.hardware import HARDWARE
from labdash.catalog.quality import find_quality
from labdash.planner.errors import PlannerError
from labdash.planner.memory.companions import seeing_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.overhead import driver_reserve, overhead_of
from labdash.planner.memory.result import DeviceUse
from labdash.planner.model import Model
from labdash.planner.settings import Gpu, Settings
from labdash.queries.bars import Segment
from labdash.queries.guide_making import CONVERTED, make_command
from labdash.queries.guide_models import GuideModel, nearest, open_guide_model
from labdash.queries.margins import USUAL_MARGIN_BYTES
from labdash.queries.opening import requantized

PRESETS = ("7B", "13B", "70B")
CONTEXTS = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
LEAST_PARAMS, MOST_PARAMS = 1e6, 1e13
# Bits a weight of the plain formats, nothing beside the numbers themselves, and the file types of
# GGUF that keep weights so: what is published of them, or how it is made.
PLAIN = (
    ("FP32", 32, "F32"),
    ("FP16 or BF16", 16, "BF16"),
    ("INT8", 8, "Q8_0"),
    ("INT4", 4, "Q4_0"),
)
# One of each kind; the chapter on names has all of them.
SHOWN = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K",
    "IQ2_XS", "IQ1_M",
)  # fmt: skip
# The card whose overhead is taken; of another one it is a little more or less.
CARD = "RTX 3060"
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Row:
    """A format: what the weights take by themselves and everything on a card together.

    ``weight_bytes`` is the file's; of it the table of tokens stays in RAM. ``least_gb`` is the
    smallest card that holds all, None where no single one does. ``quant`` is what is pulled, or
    where ``pull`` is empty what ``command`` makes.
    """

    label: str
    bits: float
    weight_bytes: float
    parts: tuple[Segment, ...]
    least_gb: float | None
    quant: str
    pull: str = ""
    kld: float | None = None

    @property
    def command(self) -> str:
        """How such a file is made."""
        return make_command(self.quant)

    @property
    def total_bytes(self) -> int:
        """Everything on the card."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The table for a number of parameters. ``beside`` is what Q4_K_M takes of the card."""

    params: float
    model: GuideModel
    ctx: int
    plain: tuple[Row, ...]
    gguf: tuple[Row, ...]
    beside: DeviceUse
    is_chosen: bool

    @property
    def most_bytes(self) -> int:
        """The longest bar."""
        return max(row.total_bytes for row in (*self.plain, *self.gguf))


@dataclass(frozen=True, kw_only=True)
class Range:
    """The least and the most of something among the usual machines of the guide."""

    low: float
    high: float


def card_speeds_gbs() -> Range:
    """Tell how fast the usual cards read their own memory."""
    speeds = [facts.bandwidth_gbs for facts in _usual_cards()]
    return Range(low=min(speeds), high=max(speeds))


def ram_speeds_gbs() -> Range:
    """Tell how fast a usual PC reads its RAM."""
    speeds = [each.ram_gbs for each in HARDWARE if each.kind == "ram" and each.ram_gbs]
    return Range(low=min(low for low, _ in speeds), high=max(high for _, high in speeds))


def overheads_bytes() -> Range:
    """Tell what one process takes of a usual card beside its buffers."""
    sizes = [
        overhead_of(vendor=facts.vendor, sm_count=facts.sm_count).bytes for facts in _usual_cards()
    ]
    return Range(low=min(sizes), high=max(sizes))


def _usual_cards() -> list[GpuFacts]:
    found = (find_gpu(each.gpu, each.gpu_gb * GIB) for each in HARDWARE if each.kind == "cards")
    return [facts for facts in found if facts]


def read_params(text: str) -> float:
    """Read 7B, 350M or 7e9. Raises ``PlannerError`` with one line."""
    written = text.strip().lower().replace(",", "").replace(" ", "")
    number, unit = (written[:-1], UNITS[written[-1]]) if written[-1:] in UNITS else (written, 1.0)
    try:
        params = float(number) * unit
    except ValueError:
        raise PlannerError("Write a number of parameters such as 7B, 350M or 7e9.") from None
    if not LEAST_PARAMS <= params <= MOST_PARAMS:
        raise PlannerError("Write a number of parameters between 1M and 10T, such as 7B.")
    return params


def read_memory(*, size: str, name: str, ctx: int) -> Memory:
    """Make the table; ``name`` counts before ``size``. Raises ``PlannerError``."""
    model = open_guide_model(name) if name else nearest(read_params(size))
    params = float(model.params) if name else read_params(size)
    return Memory(
        params=params,
        model=model,
        ctx=ctx,
        plain=tuple(_plain_row(kind, params, model, ctx) for kind in PLAIN),
        gguf=tuple(_rows(model, params, ctx, is_chosen=bool(name))),
        beside=use_on_card(model, "Q4_K_M", ctx),
        is_chosen=bool(name),
    )


def _plain_row(kind: tuple[str, int, str], params: float, model: GuideModel, ctx: int) -> Row:
    label, bits, quant = kind
    weight_bytes = params * bits / 8
    parts = _parts(int(weight_bytes), use_on_card(model, "F16", ctx), model)
    return Row(
        label=label,
        bits=bits,
        weight_bytes=weight_bytes,
        parts=parts,
        least_gb=least_card_gb(sum(part.size_bytes for part in parts)),
        quant=quant,
        pull="" if quant in CONVERTED else model.pull_name(quant),
    )


def _rows(model: GuideModel, params: float, ctx: int, *, is_chosen: bool) -> list[Row]:
    rows = []
    for quant in dict.fromkeys((*SHOWN, *([model.default_quant] if is_chosen else []))):
        try:
            row = _row(model, quant, params, ctx)
        except PlannerError:
            # Not every type can be made of every model.
            continue
        rows.append(_as_published(row, model) if is_chosen else row)
    return sorted(rows, key=lambda row: -row.weight_bytes)


def _row(model: GuideModel, quant: str, params: float, ctx: int) -> Row:
    file = requantized(model.plain, quant, imatrix=has_imatrix(quant))
    use = use_on_card(model, quant, ctx)
    scale = params / model.params
    parts = _parts(int(use.weights_bytes * scale), use, model)
    measured = find_quality(quant)
    return Row(
        label=quant,
        quant=quant,
        bits=8 * file.weight_bytes / model.params,
        weight_bytes=file.weight_bytes * scale,
        parts=parts,
        least_gb=least_card_gb(sum(part.size_bytes for part in parts)),
        pull=model.pull_name(quant),
        kld=measured.kld if measured else None,
    )


def _as_published(row: Row, model: GuideModel) -> Row:
    """Take the file that is pulled where its size is known: publishers make mixes of their own."""
    published = model.published_bytes(row.quant, row.pull)
    if published is None:
        return row
    # What reads images is a part of its own.
    published -= model.images_in(row.quant, row.pull)
    weights, *beside = row.parts
    more = published - int(row.weight_bytes)
    parts = (replace(weights, size_bytes=weights.size_bytes + more), *beside)
    return replace(
        row,
        bits=8 * published / model.params,
        weight_bytes=published,
        parts=parts,
        least_gb=least_card_gb(sum(part.size_bytes for part in parts)),
    )


def has_imatrix(quant: str) -> bool:
    """Tell whether the quality of a quant was measured with an importance matrix."""
    measured = find_quality(quant)
    return bool(measured and measured.imatrix)


def use_on_card(model: GuideModel, quant: str, ctx: int) -> DeviceUse:
    """Tell what a quant takes of one card. Raises ``PlannerError`` where it cannot be made."""
    return _estimated(model.plain, quant, ctx, model.projector_bytes)


@lru_cache(maxsize=512)
def _estimated(plain: Model, quant: str, ctx: int, projector_bytes: int) -> DeviceUse:
    """Estimate on one card without a size."""
    file = requantized(plain, quant, imatrix=has_imatrix(quant))
    facts = find_gpu(CARD)
    gpu = Gpu(vendor="nvidia", sm_count=facts.sm_count if facts else None)
    settings = Settings(
        build=newest_engine().number,
        ctx=ctx,
        gpus=(gpu,),
        dry_run=False,
        images_bytes=seeing_bytes(projector_bytes, plain.metadata),
    )
    return estimate(file, settings).devices[0]


def _parts(weight_bytes: int, use: DeviceUse, model: GuideModel) -> tuple[Segment, ...]:
    seeing = "reads images, about" if model.is_projector_reckoned else "reads images"
    sizes = (
        ("weights", weight_bytes), ("KV cache", use.kv_bytes),
        ("compute buffer", use.compute_bytes), ("overhead", use.overhead_bytes),
        *([(seeing, use.images_bytes)] if use.images_bytes else []),
    )  # fmt: skip
    return tuple(
        Segment(kind="model", label=label, size_bytes=size, colour=colour)
        for colour, (label, size) in enumerate(sizes, start=1)
    )


def least_card_gb(total_bytes: int) -> float | None:
    """Return the size of the smallest NVIDIA card of the catalog that holds so much.

    A board that shares its memory with the CPU is no card.
    """
    cards = (gpu for gpu in gpus() if gpu.vendor == "nvidia" and not gpu.unified)
    sizes = {size for gpu in cards for size in gpu.vram_gb}
    fitting = (size for size in sorted(sizes) if _room_bytes(size) >= total_bytes)
    return next(fitting, None)


def _room_bytes(size_gb: float) -> int:
    total = int(size_gb * GIB)
    return total - driver_reserve(total, "nvidia") - USUAL_MARGIN_BYTES
