"""Loads that ran out of memory, and those that ran: would the planner have said so?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from labdash.catalog.gpus import find_gpu
from labdash.catalog.models import CatalogModel, find_model
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import fit
from labdash.planner.memory.overhead import driver_reserve, overhead_of
from labdash.planner.model import Model
from labdash.planner.ollama import Prediction, fits_one_gpu
from labdash.planner.settings import ALL_LAYERS, Gpu, Settings
from labdash.planner.stock import stock_model
from tests.benchmarks.accuracy.measured_figures import is_tensor_split, loads
from tests.benchmarks.accuracy.measured_rows import MIB, Load, Row, build_of, has_flash, rows

GIB = 2**30
# llama.cpp's --fit-target.
ENGINE_MARGIN = 1024 * MIB
# What is to stay free of a load that is safe: Ollama's least reserve of a GPU, which also covers
# what a desktop takes before Windows begins to page.
SAFE_MARGIN = 457 * MIB
# The graph of a second image, as the largest that was posted.
IMAGE_BYTES = 1953 * MIB
OUT_OF_MEMORY = ("out of memory", "OOM", "cudaMalloc", "unable to allocate", "failed on device")


@dataclass(frozen=True, slots=True)
class Case:
    """What a row with an out-of-memory was, as far as it says so. ``ctx`` as ``why`` tells."""

    name: str
    quant: str
    ctx: int
    why: str
    split: tuple[float, ...] | None = None


CASES = {
    "m056": Case("gpt-oss:120b", "MXFP4", 4096, "context not posted: the least that a server has"),
    "m091": Case("Qwen3.5-27B", "Q4_K_M", 32768, "context by the 2048 MiB of cache that failed"),
    "m104": Case(
        "qwen2.5vl:32b",
        "Q4_K_M",
        4096,
        "context by the 1024 MiB of cache in its plan, which split the layers 33 to 32",
        (33, 32),
    ),
    "m114": Case("phi3:3.8b", "Q4_0", 24000, "all as posted"),
}
# Why the others cannot be estimated.
INCOMPLETE = {
    "m002": "card not posted",
    "m009": "the list of weights is cut off, and no context or free memory is posted",
    "m089": "MiMo-V2.5 is not in the catalog; by the post its own dry run said that it fits",
    "m090": "main and draft model are not named, the card's free memory is not posted",
    "m106": "31 of 41 layers of mllama, an architecture of Ollama's alone whose tensors LabDash "
    "does not know by heart",
    "m113": "ran out of RAM, which is not posted",
    "m173": "a fork with a compute buffer of its own (279,357 MiB without flash attention)",
    "m184": "DeepSeek-V4-Flash is not in the catalog, and the failure was not fatal",
    "m236": "a fork's quantization and compute buffer",
    "m259": "a fork; 215,601 MiB of RAM were asked, and what there was is not posted",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all layers fit: by the engine's own rule, in truth, and with room to spare."""

    row: Row
    engine: bool
    truth: bool
    safe: bool
    short_mib: int


def failed() -> list[Row]:
    """Return the rows that tell of an out-of-memory."""
    return [row for row in rows() if any(word in row.get("outcome", "") for word in OUT_OF_MEMORY)]


def verdicts() -> Iterator[Verdict]:
    """Judge the rows with an out-of-memory that say enough."""
    for row in failed():
        if row["id"] in CASES:
            yield _judge(row, CASES[row["id"]])


def wrongly_refused() -> tuple[list[str], int]:
    """Return the ids of loads that ran though they do not fit by the estimate, and how many ran."""
    ran = [load for load in loads()[0] if _has_run(load)]
    refused = [load.id for load in ran if not _fits(load.model, load.settings, growth=False)]
    return refused, len(ran)


def _has_run(load: Load) -> bool:
    sized = all(gpu.free_bytes for gpu in load.settings.gpus)
    whole = load.exact and "outcome" not in load.row and "n_ctx" in load.row
    return whole and sized and not load.fork and not is_tensor_split(load.row)


def _judge(row: Row, case: Case) -> Verdict:
    known = find_model(case.name).model
    model = stock_model(known.name, known.metadata, case.quant, tied=bool(known.tied))
    gpus = tuple(_gpu(each) for each in row["gpus"])
    build = build_of(row)
    settings = Settings(
        build=build,
        ctx=case.ctx,
        gpus=gpus,
        tensor_split=case.split,
        flash_attn=has_flash(row, build),
    )
    image = IMAGE_BYTES if "vision" in known.capabilities else 0
    result = estimate(model, settings, margin_bytes=image)
    return Verdict(
        row=row,
        engine=_engine_takes_it(row, known, model, settings),
        truth=_fits(model, settings, growth=False, margin=image),
        safe=_fits(model, settings, growth=True, margin=SAFE_MARGIN + 2 * image),
        short_mib=sum(device.short_bytes or 0 for device in result.devices) // MIB,
    )


def _gpu(row: Row) -> Gpu:
    known = find_gpu(row["name"]) if "name" in row else None
    vendor = known.vendor if known else None
    free = row.get("free_mib")
    if free is not None:
        return Gpu(int(free * MIB), vendor, known.sm_count if known else None)
    total = row["total_mib"] * MIB if "total_mib" in row else _largest(row["name"])
    reserve = driver_reserve(total, vendor or "nvidia")
    return Gpu(total - reserve, vendor, known.sm_count if known else None)


def _largest(name: str) -> int:
    known = find_gpu(name)
    assert known is not None
    return int(max(known.vram_gb) * GIB)


def _engine_takes_it(row: Row, known: CatalogModel, model: Model, settings: Settings) -> bool:
    """Ask Ollama's rule for one GPU, and --fit with its margin for several and for llama.cpp."""
    if row["engine"].startswith("ollama") and len(settings.gpus) == 1:
        shape = model.shape
        heads = [layer.heads_kv for layer in shape.layers if layer.attention]
        predicted = Prediction(
            file_bytes=model.weight_bytes,
            block_count=shape.block_count,
            heads_kv=min(heads),
            heads=max(layer.heads for layer in shape.layers),
            embd=shape.embd,
        )
        free = settings.gpus[0].free_bytes or 0
        return fits_one_gpu(predicted.bytes(settings.ctx), free)
    chosen = fit(
        model, replace(settings, tensor_split=None), margin_bytes=ENGINE_MARGIN, ctx_is_free=False
    )
    return chosen.gpu_layers == ALL_LAYERS and not chosen.experts_on_cpu


def _fits(model: Model, settings: Settings, *, growth: bool, margin: int = 0) -> bool:
    """Tell whether buffers and context fit, and with ``growth`` what a load takes in use too."""
    moe = model.shape.experts is not None or model.shape.recurrent is not None
    for gpu, device in zip(settings.gpus, estimate(model, settings).devices, strict=True):
        spared = 0
        if not growth:
            known = overhead_of(vendor=gpu.vendor, sm_count=gpu.sm_count, moe=moe)
            spared = known.growth_bytes
        if device.total_bytes - spared + margin > (gpu.free_bytes or 0):
            return False
    return True
