"""All that an engine takes, by device: the sum of what the other modules of this folder know."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.caches import Cells, count_cells, layer_bytes, require_cache_types
from labdash.planner.memory.companions import (
    Added,
    Companions,
    add_adapters,
    add_projector,
    draft_settings,
    nothing,
)
from labdash.planner.memory.compute import compute_bytes
from labdash.planner.memory.overhead import Overhead, overhead_of
from labdash.planner.memory.recipes import is_checked
from labdash.planner.memory.result import Bases, Basis, DeviceUse, Estimate, HostUse
from labdash.planner.memory.rough import rough_bytes
from labdash.planner.memory.run import run_of
from labdash.planner.memory.split import Split, split_layers
from labdash.planner.memory.weights import parts_of, weight_bytes
from labdash.planner.model import Model
from labdash.planner.settings import HOST, Gpu, Settings
from labdash.planner.shape import Layer


@dataclass(frozen=True, slots=True)
class Buffers:
    """What the engine allocates: each list has an entry a GPU, the host's last.

    ``replayed`` tells whether compute buffers come from the model's graph or from a formula.
    """

    split: Split
    cells: Cells
    weights: Sequence[int]
    kv: Sequence[int]
    compute: Sequence[int]
    replayed: bool


def measure(model: Model, settings: Settings) -> Buffers:
    """Work out the engine's buffers. Raises ``PlannerError`` where it would refuse to load."""
    shape = model.shape
    _require_cache_types(model, settings.type_k, settings.type_v, settings.flash_attn)
    split = split_layers(shape.block_count, settings)
    cells = count_cells(shape, settings)
    replayed = compute_bytes(model, settings, split, cells)
    compute = replayed or rough_bytes(model, run_of(model, settings, split, cells), cells)
    return Buffers(
        split=split,
        cells=cells,
        weights=weight_bytes(parts_of(model, settings.all_moves), split, len(settings.gpus)),
        kv=kv_bytes(model, settings, split, cells),
        compute=compute,
        replayed=replayed is not None,
    )


def estimate(
    model: Model,
    settings: Settings,
    *,
    learned: Sequence[Overhead | None] = (),
    margin_bytes: int = 0,
    companions: Companions | None = None,
) -> Estimate:
    """Estimate a load. ``learned`` holds what was seen of each GPU, in order, None where nothing.

    ``margin_bytes`` are to stay free on each GPU. ``companions`` are counted where they lie.

    Raises ``PlannerError`` where the engine would refuse to load.
    """
    buffers = measure(model, settings)
    if companions is not None:
        buffers = _with_companions(buffers, companions, settings)
    overheads = _overheads(model, settings, buffers, learned)
    devices = tuple(
        _device(index, settings, buffers, overheads[index], margin_bytes)
        for index in range(len(settings.gpus))
    )
    sized = [device.short_bytes for device in devices if device.short_bytes is not None]
    slots = settings.parallel
    return Estimate(
        devices=devices,
        host=HostUse(
            weights_bytes=buffers.weights[-1],
            kv_bytes=buffers.kv[-1],
            compute_bytes=buffers.compute[-1],
            output_bytes=F32_BYTES * model.shape.vocab * slots,
            images_bytes=0 if _sees_on_gpu(settings) else settings.images_bytes,
        ),
        ctx=buffers.cells.full * buffers.cells.streams,
        fits=not any(sized) if len(sized) == len(devices) and devices else None,
        basis=_bases(model, companions, buffers, [each for each in overheads if each is not None]),
        warnings=tuple(_warnings(model, settings, buffers)),
    )


def kv_bytes(model: Model, settings: Settings, split: Split, cells: Cells) -> list[int]:
    """Sum caches and states of each GPU, the host's last."""
    totals = [0] * (len(settings.gpus) + 1)
    for layer, device, count in _layers_by_device(model, split, settings.kv_offload):
        size = layer_bytes(model.shape, layer, settings, cells, on_gpu=device != HOST)
        totals[device] += size * count
    return totals


def _with_companions(buffers: Buffers, companions: Companions, settings: Settings) -> Buffers:
    added = nothing(settings)
    if companions.projector is not None:
        add_projector(added, companions.projector, settings)
    if companions.draft is not None:
        draft = measure(companions.draft, draft_settings(settings))
        added = Added(*(_sum(*pair) for pair in _pairs(added, draft)))
    add_adapters(added, companions.adapters, buffers.split)
    weights, kv, compute = (_sum(*pair) for pair in _pairs(added, buffers))
    return replace(buffers, weights=weights, kv=kv, compute=compute)


def _pairs(added: Added, buffers: Buffers) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    yield added.weights, buffers.weights
    yield added.kv, buffers.kv
    yield added.compute, buffers.compute


def _sum(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]


@lru_cache(maxsize=256)
def _require_cache_types(model: Model, type_k: str, type_v: str, flash_attn: bool) -> None:  # noqa: FBT001 - a cached function's key
    require_cache_types(model.shape, type_k=type_k, type_v=type_v, flash_attn=flash_attn)


@lru_cache(maxsize=1024)
def _layers_by_device(
    model: Model,
    split: Split,
    kv_offload: bool,  # noqa: FBT001 - a cached function's key
) -> tuple[tuple[Layer, int, int], ...]:
    """Count the layers that are alike on each device of their caches."""
    places = split.layers if kv_offload else (HOST,) * len(split.layers)
    counted = Counter(zip(model.shape.layers, places, strict=False))
    return tuple((layer, device, count) for (layer, device), count in counted.items())


def _overheads(
    model: Model, settings: Settings, buffers: Buffers, learned: Sequence[Overhead | None]
) -> list[Overhead | None]:
    """Tell each GPU's overhead, None where the engine has nothing on it."""
    moe = model.shape.experts is not None or model.shape.recurrent is not None
    known = [*learned, *[None] * len(settings.gpus)]
    return [
        overhead_of(vendor=gpu.vendor, sm_count=gpu.sm_count, moe=moe, learned=known[index])
        if buffers.weights[index]
        or buffers.kv[index]
        or buffers.compute[index]
        or _images_on(index, settings)
        else None
        for index, gpu in enumerate(settings.gpus)
    ]


def _sees_on_gpu(settings: Settings) -> bool:
    return bool(settings.gpus) and settings.images_on_gpu


def _images_on(index: int, settings: Settings) -> int:
    """Tell what reads images on a GPU: all of it lies on the first."""
    return settings.images_bytes if index == 0 and _sees_on_gpu(settings) else 0


def _device(
    index: int, settings: Settings, buffers: Buffers, overhead: Overhead | None, margin_bytes: int
) -> DeviceUse:
    gpu, split = settings.gpus[index], buffers.split
    use = DeviceUse(
        name=f"GPU{index}",
        weights_bytes=buffers.weights[index],
        kv_bytes=buffers.kv[index],
        compute_bytes=buffers.compute[index],
        overhead_bytes=0 if overhead is None else overhead.bytes,
        layers=split.layers.count(index) + (split.output == index),
        short_bytes=None,
        images_bytes=_images_on(index, settings),
    )
    # What holds nothing needs no margin either.
    wanted = use.total_bytes + margin_bytes if use.total_bytes else 0
    return replace(use, short_bytes=_short(gpu, wanted))


def _short(gpu: Gpu, wanted_bytes: int) -> int | None:
    return None if gpu.free_bytes is None else max(0, wanted_bytes - gpu.free_bytes)


def _bases(
    model: Model, companions: Companions | None, buffers: Buffers, overheads: Sequence[Overhead]
) -> Bases:
    draft = companions.draft if companions else None
    by_rules = "rules" in (model.tensor_source, draft.tensor_source if draft else None)
    # The graph of an image is reckoned, not replayed.
    sees = companions is not None and companions.projector is not None
    simulated = _is_simulated(model, buffers) and not sees
    compute: Basis = "simulated" if simulated else "modelled"
    order: dict[Basis, int] = {"unknown": 0, "table": 1, "learned": 2}
    bases: list[Basis] = [each.basis for each in overheads]
    return Bases(
        weights="rules" if by_rules else "exact",
        kv="exact",
        compute=compute,
        overhead=min(bases, key=order.__getitem__, default="table"),
    )


def _is_simulated(model: Model, buffers: Buffers) -> bool:
    return buffers.replayed and is_checked(model.shape)


def _warnings(model: Model, settings: Settings, buffers: Buffers) -> list[str]:
    shape, warnings = model.shape, []
    if settings.ctx > shape.ctx_train > 0:
        warnings.append(
            f"the model was trained with a context of {shape.ctx_train}; beyond it answers degrade"
        )
    if not _is_simulated(model, buffers):
        way = "modelled on the usual block" if buffers.replayed else "estimated by a formula"
        warnings.append(f"the compute buffer of {shape.arch} is {way}, not checked")
    if model.unknown_types:
        warnings.append(f"unknown tensor types: {', '.join(model.unknown_types)}")
    return warnings
