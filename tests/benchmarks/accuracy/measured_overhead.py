"""What the driver shows beside the buffers, in posted loads, against the planner's table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from labdash.catalog.gpus import find_gpu
from labdash.planner.memory.estimate import measure
from labdash.planner.memory.overhead import overhead_of
from tests.benchmarks.accuracy.measured_figures import IDLE_MIB, is_tensor_split, loads
from tests.benchmarks.accuracy.measured_rows import MIB, Load, Row, kv_bytes, rows

IN_USE = re.compile(r"during generation \{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Rest:
    """MiB of a card beside the buffers once loaded, and what came on top in use."""

    row: Row
    card: str
    kind: str
    rest: float
    table: float
    growth: float | None
    growth_table: float


def rests() -> Iterator[Rest]:
    """Take the buffers off the driver's figure: those of the log, else the planner's."""
    known = {load.id: load for load in loads()[0]}
    for row in rows():
        used = row.get("nvidia_smi_used_mib")
        named = all("name" in gpu for gpu in row.get("gpus", [{}]))
        if isinstance(used, dict) and named:
            for index in range(len(row["gpus"])):
                if found := _rest(row, index, known.get(row["id"])):
                    yield found


def _rest(row: Row, index: int, load: Load | None) -> Rest | None:
    device, name = f"CUDA{index}", row["gpus"][index]["name"]
    buffers = _buffers(row, index, load)
    used = row["nvidia_smi_used_mib"].get(device)
    card = find_gpu(name)
    if buffers is None or used is None or card is None:
        return None
    shape = load.model.shape if load else None
    experts = shape is not None and (shape.experts is not None or shape.recurrent is not None)
    known = overhead_of(vendor=card.vendor, sm_count=card.sm_count, moe=experts)
    in_use = _in_use(row).get(device)
    return Rest(
        row=row,
        card=name.removeprefix("NVIDIA ").removeprefix("GeForce "),
        kind=_kind(row, experts=experts),
        rest=used - IDLE_MIB.get(name, 0) - buffers,
        table=known.context_bytes / MIB,
        growth=None if in_use is None else in_use - used,
        growth_table=known.growth_bytes / MIB,
    )


def _kind(row: Row, *, experts: bool) -> str:
    if is_tensor_split(row):
        return "matrices split"
    return "experts or state" if experts else "dense"


def _buffers(row: Row, index: int, load: Load | None) -> float | None:
    """Sum a card's buffers, None where one is neither posted nor known."""
    device = f"CUDA{index}"
    total: float = row.get("rs_mib", {}).get(device, 0.0)
    for kind in ("weights", "kv", "compute"):
        sizes = row.get(f"{kind}_mib", {})
        posted = sizes.get(device, sizes.get("Meta()"))
        if posted is None:
            if load is None or not load.exact or index >= len(load.settings.gpus):
                return None
            posted = getattr(measure(load.model, load.settings), kind)[index] / MIB
        elif kind == "kv" and load and "rs_mib" not in row:
            # A state that was not listed beside the caches.
            shape, settings = load.model.shape, load.settings
            caches = kv_bytes(shape, settings, states=False)
            total += (kv_bytes(shape, settings)[index] - caches[index]) / MIB
        total += posted
    return total


def _in_use(row: Row) -> dict[str, float]:
    found = IN_USE.search(row.get("notes", ""))
    pairs = (each.split(":") for each in found[1].split(",")) if found else ()
    return {name.strip(" '"): float(size) for name, size in pairs}
