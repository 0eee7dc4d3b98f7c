"""Recorded loads of llama.cpp, and the planner's models and settings for them.

``tests/fixtures/oracle`` holds llama.cpp's own report of what each device would hold, taken
without allocating, at two builds: b10573 (August 2026) and b11434 (October 2026). Models are
headers of real GGUF files; a quantization without a header is made of the F16 one by the rules of
llama-quantize.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from labdash.planner.file_types import find_file_type
from labdash.planner.gguf import read_header
from labdash.planner.gguf_split import model_of
from labdash.planner.model import Model
from labdash.planner.quants import types_of
from labdash.planner.settings import Gpu, Settings

FIXTURES = Path(__file__).parent / "fixtures" / "oracle"
CUDA = "cuda-stand-in (no_alloc)"
BUILDS = (10573, 11434)
MIB = 2**20

type Row = dict[str, Any]


def read_rows(name: str) -> list[Row]:
    """Read a gzipped file of JSON lines."""
    with gzip.open(FIXTURES / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@cache
def runs(build: int) -> tuple[Row, ...]:
    """Return the runs of a build that stand for CUDA cards."""
    return tuple(row for row in read_rows(f"runs-b{build}") if row["backend"] == CUDA)


def sample(build: int, step: int) -> Iterator[Row]:
    """Pick every n-th run."""
    yield from runs(build)[::step]


@cache
def model(name: str, quant: str) -> Model:
    """Open a model's header, or make it of the F16 one."""
    path = FIXTURES / "headers" / f"{name}.{quant}.gguf.gz"
    if path.exists():
        return model_of(read_header(gzip.decompress(path.read_bytes())), name=name)
    plain = model(name, "F16")
    file_type = find_file_type(quant)
    imatrix = file_type.name == "IQ2_XXS"
    tensors = types_of(plain.tensors, plain.metadata, file_type, imatrix=imatrix)
    return Model(name, quant, plain.metadata, tuple(tensors), "rules")


def settings_of(row: Row, build: int) -> Settings:
    """Give the settings of a recorded run."""
    sizes = [float(size) for size in str(row["device_mem_MiB"]).split(",")]
    count = row["n_devices"]
    sizes = sizes if len(sizes) == count else sizes * count
    shares = row.get("tensor_split")
    return Settings(
        build=build,
        ctx=row["n_ctx"],
        parallel=row["n_seq"],
        unified_kv=row["kv_unified"],
        flash_attn=row["fa"],
        type_k=row["type_k"],
        type_v=row["type_v"],
        batch=row["n_batch"],
        ubatch=row["n_ubatch"],
        gpu_layers=row["ngl"],
        gpus=tuple(Gpu(int(size * MIB)) for size in sizes),
        tensor_split=tuple(map(float, shares.split(","))) if isinstance(shares, str) else None,
        outputs=row["n_outputs_max"],
        kv_offload=row["offload_kqv"],
        op_offload=row["op_offload"],
        swa_full=row["swa_full"],
        pipeline=row["pipeline_capable"],
        cpu_override=row.get("override_to_cpu"),
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """MiB by device, the host's last, as llama.cpp reported them."""

    weights: list[float]
    kv: list[float]
    compute: list[float]


def recorded(row: Row) -> Recorded:
    """Read what a run reported. The buffers of the host are summed."""

    def each(kind: str) -> list[float]:
        names = [f"GPU{index}" for index in range(row["n_devices"])]
        gpus = [row["devices"].get(name, {}).get(kind, 0.0) for name in names]
        return [*gpus, sum(buffer[kind] for buffer in row["host"].values())]

    return Recorded(each("weights"), each("kv"), each("compute"))
