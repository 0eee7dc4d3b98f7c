"""What a model takes of a place: whether it fits, how much of it, how long a context, how fast."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from labdash.planner.memory.caches import count_cells
from labdash.planner.memory.estimate import estimate, kv_bytes
from labdash.planner.memory.result import DeviceUse, Estimate
from labdash.planner.memory.split import Split, split_layers
from labdash.planner.memory.weights import parts_of, weight_bytes
from labdash.planner.model import Model
from labdash.planner.reading import Context, Device, Placed, Reading, generation_parts, read_model
from labdash.planner.settings import ALL_LAYERS, HOST, Settings
from labdash.planner.speed import Speed, generation_speed
from labdash.queries.fit_places import Card, Place

STEP = 256
# The RAM of home machines, one slow channel to two fast ones: nobody reports it.
RAM_GBS = (20.0, 90.0)
# Speeds are told for a context that is filled so far at most.
FILLED = 4096

# With few layers on the host the compute buffer is smaller than where half of them are.
NEARLY_ALL = 0.85

type Verdict = Literal["whole", "part", "no", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a model is to be served. ``context`` is that of one slot."""

    context: int = 8192
    slots: int = 1
    kv_type: str = "f16"
    flash: bool = True
    batch: int = 512

    def on(self, place: Place) -> Settings:
        """Return it as an engine of a place is started, with every layer on the GPUs."""
        return Settings(
            build=place.build.number,
            ctx=self.context * self.slots,
            parallel=self.slots,
            flash_attn=self.flash,
            type_k=self.kv_type,
            type_v=self.kv_type,
            batch=self.batch,
            ubatch=self.batch,
            gpus=tuple(card.gpu for card in place.cards),
            dry_run=False,
        )


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What became of a load. ``layers`` of ``all_layers`` lie on GPUs, the output layer among them.

    ``short_bytes`` is what is missing: for a model that fits in part, to fit whole; for one that
    does not fit, to fit at all. ``most_context`` is the longest of a slot that fits whole, 0 where
    none does, ``None`` where the room is not known. ``speed`` is ``None`` where a bandwidth is not
    known. ``used`` has an entry a GPU, ``host_bytes`` is what the RAM holds.
    """

    verdict: Verdict
    layers: int
    all_layers: int
    short_bytes: int
    most_context: int | None
    speed: Speed | None
    used: tuple[DeviceUse, ...]
    host_bytes: int
    estimate: Estimate


def fit(model: Model, place: Place, load: Load) -> Fit:
    """Try a load on a place. Raises ``PlannerError`` where the engine would refuse it."""
    settings = load.on(place)
    whole = estimate(model, settings)
    if not place.cards:
        return _in_ram(model, place, load, whole)
    all_layers = model.shape.block_count + 1
    known = all(card.room_bytes is not None for card in place.cards)
    found = whole
    if whole.fits is False:
        settings, found = most_layers(model, settings)
    layers = sum(device.layers for device in found.devices)
    short = missing_bytes(whole, place)
    verdict: Verdict = "whole" if known else "unknown"
    if whole.fits is False:
        verdict = "no" if short else "part"
    return Fit(
        verdict=verdict,
        layers=layers,
        all_layers=all_layers,
        short_bytes=short or sum(device.short_bytes or 0 for device in whole.devices),
        most_context=most_context(model, place, load) if known else None,
        speed=speed_of(model, place, settings, load),
        used=found.devices,
        host_bytes=found.host.total_bytes,
        estimate=found,
    )


def _in_ram(model: Model, place: Place, load: Load, found: Estimate) -> Fit:
    """A machine without a GPU: everything is on the CPU, and that is whole."""
    total, free = found.host.total_bytes, place.ram_bytes
    short = 0 if free is None else max(0, total - free)
    return Fit(
        verdict="unknown" if free is None else "no" if short else "whole",
        layers=0,
        all_layers=model.shape.block_count + 1,
        short_bytes=short,
        most_context=None if free is None else most_context(model, place, load),
        speed=speed_of(model, place, load.on(place), load),
        used=(),
        host_bytes=total,
        estimate=found,
    )


def missing_bytes(whole: Estimate, place: Place) -> int:
    """Tell what GPUs and RAM lack together. RAM of which nothing is known lacks nothing.

    ``whole`` is the load with every layer on the GPUs.
    """
    if place.ram_bytes is None and not place.unified:
        return 0
    wanted = sum(device.total_bytes for device in whole.devices) + whole.host.total_bytes
    room = sum(card.room_bytes or 0 for card in place.cards)
    ram = place.ram_bytes or 0
    return max(0, wanted - (max(room, ram) if place.unified else room + ram))


def most_context(model: Model, place: Place, load: Load) -> int:
    """Find the longest context of a slot that fits whole, in steps of 256 up to the trained one."""
    top = model.shape.ctx_train or load.context

    def fits(steps: int) -> bool:
        found = estimate(model, replace(load, context=min(steps * STEP, top)).on(place))
        if place.cards:
            return bool(found.fits)
        return found.host.total_bytes <= (place.ram_bytes or 0)

    return min(most(fits, -(-top // STEP)) * STEP, top)


def most(fits: Callable[[int], bool], top: int) -> int:
    """Find the greatest number up to ``top`` that fits, 0 where not even 1 does."""
    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def most_layers(model: Model, settings: Settings) -> tuple[Settings, Estimate]:
    """Find how many layers the GPUs hold where not all fit.

    Weights and cache follow from the split at once; the compute buffer, which hardly depends on
    it, is taken from another estimate. Each estimate that does not fit lessens the layers.
    """
    layers = top = model.shape.block_count
    beside = half_beside(model, settings)
    guess = layers_beside(model, settings, beside, top=top)
    if guess > NEARLY_ALL * top:
        beside = [0] * len(beside)
    while True:
        layers = layers_beside(model, settings, beside, top=layers)
        tried = replace(settings, gpu_layers=layers)
        found = estimate(model, tried)
        if found.fits or not layers:
            return tried, found
        beside = beside_bytes(found)
        layers -= 1


def half_beside(model: Model, settings: Settings) -> list[int]:
    """Tell what each GPU holds beside weights and cache where half the layers are on the CPU."""
    half = replace(settings, gpu_layers=(model.shape.block_count + 1) // 2)
    return beside_bytes(estimate(model, half))


def beside_bytes(found: Estimate) -> list[int]:
    """Tell what an estimate has on each GPU beside weights and cache."""
    return [device.compute_bytes + device.overhead_bytes for device in found.devices]


def layers_beside(model: Model, settings: Settings, beside: Iterable[int], *, top: int) -> int:
    """Find how many layers leave ``beside`` bytes free on each GPU."""
    rooms = [(g.free_bytes or 0) - b for g, b in zip(settings.gpus, beside, strict=True)]

    def fits(layers: int) -> bool:
        split = split_layers(model.shape.block_count, replace(settings, gpu_layers=layers))
        sizes = _static_bytes(model, replace(settings, gpu_layers=ALL_LAYERS), split)
        return all(size <= room for size, room in zip(sizes, rooms, strict=True))

    return most(fits, top)


@lru_cache(maxsize=8192)
def _static_bytes(model: Model, settings: Settings, split: Split) -> tuple[int, ...]:
    """Count weights and cache on each GPU."""
    count = len(settings.gpus)
    weights = weight_bytes(parts_of(model, ()), split, count)
    kv = kv_bytes(model, settings, split, count_cells(model.shape, settings))
    return tuple(sum(pair) for pair in zip(weights[:count], kv[:count], strict=True))


def speed_of(model: Model, place: Place, settings: Settings, load: Load) -> Speed | None:
    """Tell the tokens a second of one answer, ``None`` where a GPU's bandwidth is not known."""
    slow = _speed(model, place, settings, load, RAM_GBS[0])
    fast = _speed(model, place, settings, load, RAM_GBS[1])
    return replace(slow, high=fast.high) if slow and fast else None


def _speed(
    model: Model, place: Place, settings: Settings, load: Load, ram_gbs: float
) -> Speed | None:
    split = split_layers(model.shape.block_count, settings)
    homes = (*split.layers, split.output)
    devices = {index: _device(card) for index, card in enumerate(place.cards)}
    shared = _device(place.cards[0]) if place.unified else None
    devices[HOST] = Device("RAM", "cpu", shared.bandwidth_gbs if shared else ram_gbs)
    placed = [
        Placed(device, [layer for layer, home in enumerate(homes) if home == index])
        for index, device in devices.items()
    ]
    filled = Context(min(load.context, FILLED), load.kv_type, load.kv_type)
    parts, hops = generation_parts(_reading(model), placed, filled)
    return generation_speed(parts, moe=model.shape.experts is not None, hops=hops)


@lru_cache(maxsize=64)
def _reading(model: Model) -> Reading:
    return read_model(model)


def _device(card: Card) -> Device:
    facts = card.facts
    if facts is None:
        return Device(card.label, "nvidia", None)
    return Device(card.label, facts.speed_class, facts.bandwidth_gbs)
