"""Loads that people posted from real cards, as models and settings of the planner.

``tests/fixtures/measured.jsonl.gz`` holds figures from public threads and files, each with its
source. Absent is what was not posted; sizes are MiB. Where a post does not say its quantization or
its cache type, the stock one is taken whose size comes nearest: a wrong one would be far off.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from labdash.catalog.engines import build_of_ollama
from labdash.catalog.gpus import find_gpu
from labdash.catalog.models import CatalogModel, find_model
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.planner.memory.caches import count_cells, layer_bytes
from labdash.planner.memory.split import split_layers
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import ALL_LAYERS, HOST, Gpu, Settings
from labdash.planner.settings import CACHE_TYPES as KNOWN_CACHES
from labdash.planner.shape import Shape
from labdash.planner.stock import stock_model
from tests.oracle import model as header

PATH = Path(__file__).parents[2] / "fixtures" / "measured.jsonl.gz"
MIB = 2**20
GUESSED_CACHES = ("f16", "q8_0", "q4_0")
# From here on llama.cpp switches flash attention on by itself where the card has it.
FLASH_AUTO_SINCE = 6325
# Builds of posts that do not say theirs, by what else they show.
OLD, OUTPUTS_UNLIMITED, RECENT = 6000, 8000, 10488
GUESSED_BUILDS = {"m022": OUTPUTS_UNLIMITED, "m026": RECENT, "m027": RECENT, "m030": RECENT,
                  "m080": OUTPUTS_UNLIMITED, "m081": OUTPUTS_UNLIMITED, "m091": RECENT}  # fmt: skip
# Weights alone are compared where the context was not posted.
UNKNOWN_CTX = 4096
# Servers with four slots by default, by their state of four in the KV figure.
FOUR_SLOTS = ("m080", "m081")
# Names as posted, and the catalog's.
NAMES = {
    "DeepSeek R1": "deepseek-r1:671b",
    "DeepSeek R1 0528": "deepseek-r1:671b",
    "DeepSeek R1 BF16": "deepseek-r1:671b",
    "DeepSeek R1 Bf16": "deepseek-r1:671b",
    "unsloth_DeepSeek R1 BF16": "deepseek-r1:671b",
    "opensourcerelease_DeepSeek R1 Bf16": "deepseek-r1:671b",
    "DeepSeek V3 0324": "deepseek-v3:671b",
    "DeepSeek V3 0324 BF16": "deepseek-v3:671b",
    "Deepseek-V3-0324": "deepseek-v3:671b",
    "Kimi K2 Instruct Bf16 Safetensors": "Kimi-K2-Instruct",
    "deepseek-coder-v2-16b": "deepseek-coder-v2:16b",
    "Gemma 3 27b It Qat": "gemma3:27b",
    "Gemma-4-12B": "gemma4:12b",
    "Llama 70B": "llama3:70b",
    "Llama-2-7B": "llama2:7b",
    "Meta_Llama_3.1_8b_it": "llama3.1:8b",
    "Qwen3 14B": "qwen3:14b",
    "Qwen3 235B A22B": "qwen3:235b",
    "Qwen3-235B-A22B-128K": "qwen3:235b",
    "Reflection-Llama-3.1-70B": "llama3.1:70b",
    "mistral-small-2409-22b": "mistral-small:22b",
    "qwen35moe": "qwen3.6:35b",
}
HEADERS = {"gpt-oss-20b": ("gpt-oss-20b", "MXFP4")}

MEASURED = ("weights_mib", "kv_mib", "kv_total_mib", "compute_mib", "nvidia_smi_used_mib")

type Row = dict[str, Any]


class NotEstimable(Exception):  # noqa: N818 - no error: a row that says too little
    """The reason why there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Load:
    """A row and how it is loaded. ``exact`` where the weights are those of the row."""

    row: Row
    model: Model
    settings: Settings
    exact: bool
    fork: bool

    @property
    def id(self) -> str:
        """Name the row."""
        return str(self.row["id"])


@cache
def rows(path: Path = PATH) -> tuple[Row, ...]:
    """Return all posted loads."""
    with gzip.open(path, "rt") as lines:
        return tuple(json.loads(line) for line in lines)


def load_of(row: Row) -> Load:
    """Make a model and settings of a row. Raises ``NotEstimable``."""
    if not any(row.get(field) for field in MEASURED):
        raise NotEstimable("nothing measured: only an estimate, a line of ps or words")
    known = _known(row)
    if not {row.get("kv_type_k", "f16"), row.get("kv_type_v", "f16")} <= set(KNOWN_CACHES):
        raise NotEstimable("cache type of a fork")
    fork = bool(row.get("engine_variant"))
    model, exact = _model(row, known)
    if not row.get("n_ctx") and not (exact and row.get("weights_mib")):
        raise NotEstimable("context not posted")
    settings = _settings(row)
    return Load(row, model, _with_cache(row, model, settings), exact and bool(model.tensors), fork)


def noted(row: Row, pattern: str) -> str | None:
    """Find what a note says."""
    found = re.search(pattern, row.get("notes", ""))
    return found[1] if found else None


def kv_of(row: Row) -> float | None:
    """Sum caches and states, None where only a part of them was posted."""
    if any("kind" in part for part in row.get("kv_parts", ())):
        return None
    caches = row.get("kv_total_mib") or on_all(row, row.get("kv_mib", {}))
    return caches + sum(row.get("rs_mib", {}).values()) if caches else None


def on_all(row: Row, sizes: dict[str, float]) -> float:
    """Sum buffers. "Meta" stands for one on each GPU, which hold a part of every matrix."""
    count = len(row.get("gpus", ()))
    return sum(size * (count if name.startswith("Meta") else 1) for name, size in sizes.items())


# -- models


def _known(row: Row) -> CatalogModel:
    if "model" not in row:
        raise NotEstimable("model not named")
    name = str(row["model"])
    try:
        return find_model(NAMES.get(name, name)).model
    except PlannerError:
        raise NotEstimable("model not in the catalog") from None


def _model(row: Row, known: CatalogModel) -> tuple[Model, bool]:
    """Open a header or make the model by rules; tell whether the weights are the row's."""
    if known.name in HEADERS:
        return header(*HEADERS[known.name]), True
    compressed = row.get("mla_attn", 0) != 0 or row["id"] in COMPRESSED
    quant = _quant(row)
    if quant is None and row.get("quant"):
        return _stock(known, "Q8_0", compressed=compressed), False
    if quant is not None:
        model = _stock(known, quant, compressed=compressed)
        return model, not row.get("engine_variant") or _is_near(model, row.get("file_size_mib"))
    wanted = row.get("file_size_mib") or sum(row.get("weights_mib", {}).values())
    if not wanted:
        return _stock(known, "Q8_0", compressed=compressed), False
    made = [_stock(known, each, compressed=compressed) for each in GUESSED_TYPES]
    nearest = min(made, key=lambda model: abs(loaded_mib(model) - wanted))
    return nearest, _is_near(nearest, wanted)


def _is_near(model: Model, file_mib: float | None) -> bool:
    """Tell a stock file by its size from a mix of somebody's own under the same name."""
    sizes = (loaded_mib(model), loaded_mib(model, twice=False))
    return file_mib is not None and any(abs(size / file_mib - 1) < NEAR for size in sizes)


GUESSED_TYPES = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_XS",
    "Q3_K_M", "Q2_K", "MXFP4_MOE",
)  # fmt: skip
# How near the sum of a stock quantization has to come to be taken for the one that was loaded.
NEAR = 0.002
# Rows whose cache is compressed though the switch of their fork was not posted.
COMPRESSED = ("m283",)


def loaded_mib(model: Model, *, twice: bool = True) -> float:
    """Sum what lies in memory: ``twice`` a table of tokens that is the output of a GPU too."""
    again = model.tensors and twice and model.shape.tied
    table = model.table.ends["token_embd.weight"].bytes if again else 0
    return (model.weight_bytes + table) / MIB


def _quant(row: Row) -> str | None:
    """Read the quantization, None where it is none of llama-quantize's or not said."""
    text = row.get("quant", "")
    text = text.replace(" - Medium", "_M").replace(" - Small", "_S").replace("Q2_K_M", "Q2_K")
    try:
        return find_file_type(text.split(" ")[0]).name
    except PlannerError:
        return None


@cache
def _stock_of(name: str, quant: str, compressed: bool) -> Model:
    known = find_model(name).model
    try:
        made = stock_model(
            known.name, known.metadata, quant, tied=bool(known.tied), imatrix=quant[:2] == "IQ"
        )
    except PlannerError:
        # No tensors by heart: caches and states follow from the metadata alone.
        made = Model(known.name, None, known.metadata, (), "rules")
    return made if compressed or made.shape.mla is None else uncompressed(made)


def _stock(known: CatalogModel, quant: str, *, compressed: bool) -> Model:
    return _stock_of(known.name, quant, compressed)


def uncompressed(model: Model) -> Model:
    """Turn DeepSeek's file into one of before 2025, with K and V of every head in the cache."""
    arch, mla = model.shape.arch, model.shape.mla
    assert mla is not None
    metadata = {key: value for key, value in model.metadata.items() if not key.endswith("_mla")}
    heads = model.shape.layers[0].heads
    metadata[f"{arch}.attention.head_count_kv"] = heads
    metadata[f"{arch}.attention.key_length"] = mla.key_length
    metadata[f"{arch}.attention.value_length"] = mla.value_length
    tensors = tuple(_joined(model.tensors, mla.kv_lora_rank))
    return Model(model.name, model.quant, metadata, tensors, model.tensor_source)


def _joined(tensors: Iterable[Tensor], rank: int) -> Iterator[Tensor]:
    """Put the two matrices that open compressed rows into the one of older files."""
    k_b: dict[str, Tensor] = {}
    for tensor in tensors:
        block = tensor.name.partition(".attn_")[0]
        if tensor.name.endswith("attn_k_b.weight"):
            k_b[block] = tensor
        elif tensor.name.endswith("attn_v_b.weight"):
            rows = (tensor.shape[1] + k_b[block].shape[0]) * tensor.shape[2]
            size = tensor.bytes + k_b[block].bytes
            yield Tensor(f"{block}.attn_kv_b.weight", (rank, rows), tensor.type, size)
        else:
            yield tensor


# -- settings


def _settings(row: Row) -> Settings:
    build = build_of(row)
    gpus = tuple(_gpu(each) for each in row.get("gpus", ())) or (Gpu(),)
    if noted(row, "split mode (none)"):
        gpus = gpus[:1]
    moved = noted(row, r"--n-cpu-moe (\d+)")
    return Settings(
        build=build,
        ctx=row.get("n_ctx", UNKNOWN_CTX),
        parallel=4 if row["id"] in FOUR_SLOTS else row.get("n_parallel", 1),
        unified_kv="non-unified" not in row.get("notes", "") and not _is_split(row),
        flash_attn=has_flash(row, build),
        batch=row.get("n_batch", 2048),
        ubatch=row.get("n_ubatch", 512),
        gpu_layers=_gpu_layers(row),
        gpus=gpus,
        cpu_override=_experts_below(int(moved)) if moved else None,
        # The fork of these rows keeps the whole context in windowed layers too.
        swa_full=bool(row.get("engine_variant")),
        dry_run=False,
    )


def _is_split(row: Row) -> bool:
    """Tell slots with caches of their own: several streams, or what the controlled rows had."""
    streams = {part.get("seqs", "1/1").rpartition("/")[2] for part in row.get("kv_parts", ())}
    return bool(streams - {"1"}) or (row.get("n_parallel") == 8)


def _experts_below(count: int) -> str:
    """Write what --n-cpu-moe stands for."""
    blocks = "|".join(map(str, range(count)))
    return rf"blk\.({blocks})\.ffn_(up|down|gate_up|gate)_(ch|)exps"


def build_of(row: Row) -> int:
    """Read the build, or guess it."""
    version = row.get("engine_version", "")
    if found := re.match(r"b(\d+)", version):
        return int(found[1])
    found = re.match(r"\d+\.\d+\.\d+", version)
    if row["engine"].startswith("ollama") and found:
        return build_of_ollama(found[0]).number
    return GUESSED_BUILDS.get(row["id"], OLD)


def has_flash(row: Row, build: int) -> bool:
    """Tell whether flash attention was on: as posted, or as the engine then had it by itself."""
    said = row.get("flash_attn")
    if isinstance(said, bool):
        return said
    automatic = row["engine"] == "llama.cpp" and build >= FLASH_AUTO_SINCE
    return automatic or said == "auto" or row.get("kv_type_v", "f16") != "f16"


def _gpu_layers(row: Row) -> int:
    offloaded, total = row.get("gpu_layers_offloaded"), row.get("layers_total")
    return ALL_LAYERS if offloaded is None or offloaded == total else int(offloaded)


def _gpu(row: Row) -> Gpu:
    free = row.get("free_mib")
    known = find_gpu(row["name"]) if row.get("name") else None
    return Gpu(
        free_bytes=int(free * MIB) if free else None,
        vendor=known.vendor if known else None,
        sm_count=known.sm_count if known else None,
    )


def _with_cache(row: Row, model: Model, settings: Settings) -> Settings:
    """Set the cache types: those posted, else the ones that come nearest."""
    if row.get("kv_type_k"):
        type_k = str(row["kv_type_k"])
        return replace(settings, type_k=type_k, type_v=str(row.get("kv_type_v", type_k)))
    wanted = kv_of(row)
    if wanted is None or "n_ctx" not in row:
        return settings
    tried = [
        replace(
            settings,
            type_k=kind,
            type_v=kind,
            flash_attn=settings.flash_attn or (kind != "f16" and "flash_attn" not in row),
        )
        for kind in GUESSED_CACHES
        if kind == "f16" or row.get("flash_attn", True)
    ]
    return min(tried, key=lambda each: abs(sum(kv_bytes(model.shape, each)) / MIB - wanted))


def kv_bytes(shape: Shape, settings: Settings, *, states: bool = True) -> list[int]:
    """Size caches and states by the planner's rules: an entry a GPU, the host's last."""
    split, cells = split_layers(shape.block_count, settings), count_cells(shape, settings)
    totals = [0] * (len(settings.gpus) + 1)
    for layer, device in zip(shape.layers, split.layers, strict=False):
        if states or not layer.recurrent:
            totals[device] += layer_bytes(shape, layer, settings, cells, on_gpu=device != HOST)
    return totals
