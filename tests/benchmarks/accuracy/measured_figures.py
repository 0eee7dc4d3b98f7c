"""The figures of posted loads beside the planner's."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labdash.planner.errors import PlannerError
from labdash.planner.memory.estimate import Buffers, estimate, measure
from labdash.planner.memory.overhead import overhead_of
from labdash.planner.settings import ALL_LAYERS
from tests.benchmarks.accuracy.measured_rows import (
    MIB,
    PATH,
    Load,
    NotEstimable,
    Row,
    kv_bytes,
    kv_of,
    load_of,
    loaded_mib,
    noted,
    on_all,
    rows,
)

DEVICE = re.compile(r"(?:CUDA|ROCm|MTL)(\d+)$")
# What the controlled machines' cards held before: by the note on each.
IDLE_MIB = {"NVIDIA GeForce GTX 1660 SUPER": 17, "NVIDIA GeForce RTX 3060": 1}
DOUBTFUL = re.compile(r"exceeds|overlap|truncated|do not sum|whole file|counts the whole")


@dataclass(frozen=True, slots=True)
class Figure:
    """MiB of one kind on one device, or in all (``where`` is "sum")."""

    load: Load
    kind: str
    where: str
    theirs: float
    ours: float

    @property
    def error(self) -> float:
        """Tell how far the estimate is off, as a part of what was measured."""
        return (self.ours - self.theirs) / self.theirs


@cache
def loads(path: Path = PATH) -> tuple[tuple[Load, ...], dict[str, list[str]]]:
    """Return the rows that can be estimated, and the ids of the others by reason."""
    found: list[Load] = []
    left: dict[str, list[str]] = {}
    for row in rows(path):
        try:
            found.append(load_of(row))
        except (NotEstimable, PlannerError) as reason:
            left.setdefault(str(reason), []).append(str(row["id"]))
    return tuple(found), left


@cache
def figures(path: Path = PATH) -> tuple[Figure, ...]:
    """Compare every load."""
    return tuple(figure for load in loads(path)[0] for figure in compare(load))


def compare(load: Load) -> Iterator[Figure]:
    """Compare what a row tells."""
    known = "n_ctx" in load.row
    if known:
        yield from _kv(load)
    if not load.model.tensors:
        return
    if load.fork:
        yield from _weights_of_fork(load)
        return
    buffers = measure(load.model, load.settings)
    if load.exact:
        yield from _weights(load, buffers)
    if known and not is_tensor_split(load.row) and _is_compute_known(load):
        yield from _compute(load, buffers)
        if load.exact:
            yield from _driver(load)


def is_tensor_split(row: Row) -> bool:
    """Tell a load whose every matrix is split over the GPUs."""
    return noted(row, "split mode (tensor)") is not None


def _is_compute_known(load: Load) -> bool:
    """Whether batch or weights were posted, and no weights are brought along of unknown types."""
    posted = "n_ubatch" in load.row or "weights_mib" in load.row
    return posted and (load.exact or load.settings.cpu_override is None)


def _kv(load: Load) -> Iterator[Figure]:
    row = load.row
    wanted = kv_of(row)
    if wanted is None:
        return
    # Where a log's lines were copied without the states' own, only caches compare.
    listed = bool(row.get("rs_mib")) or "context" in row.get("gpus", [{}])[0]
    ours = kv_bytes(load.model.shape, load.settings, states=listed)
    placed = _placed(row.get("kv_mib", {}), len(load.settings.gpus))
    guessed = -1 in (placed or {}) and load.settings.gpu_layers == ALL_LAYERS
    if load.fork or placed is None or row.get("rs_mib") or guessed:
        yield Figure(load, "KV", "sum", wanted, sum(ours) / MIB)
        return
    yield from _each(load, "KV", placed, ours)


def _weights(load: Load, buffers: Buffers) -> Iterator[Figure]:
    row = load.row
    given = row.get("weights_mib", {})
    placed = _placed(given, len(load.settings.gpus))
    doubtful = DOUBTFUL.search(row.get("notes", "")) is not None
    if placed is None:
        if given and not doubtful:
            yield Figure(load, "weights", "sum", on_all(row, given), sum(buffers.weights) / MIB)
        return
    if doubtful or load.settings.cpu_override:
        placed = {device: size for device, size in placed.items() if device >= 0}
    yield from _each(load, "weights", placed, buffers.weights)


def _weights_of_fork(load: Load) -> Iterator[Figure]:
    """Compare the sum: a fork repacks types, and what it moves was not posted."""
    given = load.row.get("weights_mib", {})
    if load.exact and given and not DOUBTFUL.search(load.row.get("notes", "")):
        on_gpu = any(DEVICE.match(name) for name in given)
        ours = loaded_mib(load.model, twice=on_gpu)
        yield Figure(load, "weights", "sum", sum(given.values()), ours)


def _compute(load: Load, buffers: Buffers) -> Iterator[Figure]:
    placed = _placed(load.row.get("compute_mib", {}), len(load.settings.gpus))
    if placed is not None:
        yield from _each(load, "compute", placed, buffers.compute)


def _driver(load: Load) -> Iterator[Figure]:
    """Compare what the driver says once loaded, less what the card held before."""
    used = load.row.get("nvidia_smi_used_mib")
    if not isinstance(used, dict) or any(gpu.sm_count is None for gpu in load.settings.gpus):
        return
    devices = estimate(load.model, load.settings).devices
    placed = _placed(used, len(devices)) or {}
    for index, total in placed.items():
        idle = IDLE_MIB.get(load.row["gpus"][index]["name"], 0)
        use = devices[index]
        growth = growth_bytes(load, index)
        if use.total_bytes:
            ours = (use.total_bytes - growth) / MIB
            yield Figure(load, "driver", f"GPU{index}", total - idle, ours)


def growth_bytes(load: Load, index: int) -> int:
    """Tell what the planner adds for a load in use."""
    gpu, shape = load.settings.gpus[index], load.model.shape
    moe = shape.experts is not None or shape.recurrent is not None
    return overhead_of(vendor=gpu.vendor, sm_count=gpu.sm_count, moe=moe).growth_bytes


def _each(load: Load, kind: str, placed: dict[int, float], ours: Sequence[int]) -> Iterator[Figure]:
    for device, size in placed.items():
        if size:
            where = "host" if device < 0 else f"GPU{device}"
            name = f"{kind}, host" if kind == "compute" and device < 0 else kind
            yield Figure(load, name, where, size, ours[device] / MIB)


def _placed(given: dict[str, float], gpu_count: int) -> dict[int, float] | None:
    """Sort buffers by GPU, the host as -1. None where they lie on what is not known."""
    placed: dict[int, float] = {}
    for name, size in given.items():
        found = DEVICE.match(name)
        if found is None and not name.startswith(("CPU", "CUDA_Host", "Host", "ROCm_Host")):
            return None
        device = int(found[1]) if found else -1
        if device >= gpu_count:
            return None
        placed[device] = placed.get(device, 0) + size
    return placed or None
