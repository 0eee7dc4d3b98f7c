"""What a model takes of a place: whether it fits, how much of it, how long a context, how fast."""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

from labdash.planner.memory.companions import seeing_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.result import DeviceUse, Estimate
from labdash.planner.model import Model
from labdash.planner.placing.layers import most, most_layers
from labdash.planner.placing.pace import parts_of_load
from labdash.planner.reading import Device
from labdash.planner.settings import Settings
from labdash.planner.speed import Speed, generation_speed
from labdash.queries.fit_places import Card, Place

STEP = 256
# The RAM of home machines, one slow channel to two fast ones: nobody reports it.
RAM_GBS = (20.0, 90.0)

# A reader waits for slower answers.
READING_TOKENS_PER_S = 8.0

type Verdict = Literal["whole", "part", "no", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a model is to be served. ``context`` is that of one slot.

    ``images_bytes`` is what reads images beside the model, with room for the largest.
    """

    context: int = 8192
    slots: int = 1
    kv_type: str = "f16"
    flash: bool = True
    batch: int = 512
    images_bytes: int = 0

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
            images_bytes=self.images_bytes,
        )

    def seeing(self, model: Model, projector_bytes: int) -> "Load":
        """Return it with what reads images beside a model."""
        size = seeing_bytes(projector_bytes, model.metadata, flash_attn=self.flash)
        return replace(self, images_bytes=size)


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
        if not found.fits and settings.images_bytes:
            # No room even for what reads images: then it stays in RAM, too.
            settings = replace(settings, images_on_gpu=False)
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
        speed=speed_of(model, place, settings),
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
        speed=speed_of(model, place, load.on(place)),
        used=(),
        host_bytes=total,
        estimate=found,
    )


def is_slow(speed: Speed | None) -> bool:
    """Tell whether the middle of a speed, which may differ by factors, is below reading."""
    return speed is not None and sqrt(speed.low * speed.high) < READING_TOKENS_PER_S


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

    steps = -(-top // STEP)
    # Small models fit up to the end: that is asked first.
    return top if fits(steps) else most(fits, steps - 1) * STEP


def speed_of(model: Model, place: Place, settings: Settings) -> Speed | None:
    """Tell the tokens a second of one answer, ``None`` where a GPU's bandwidth is not known."""
    least, most_gbs = place.ram_gbs or RAM_GBS
    slow = _speed(model, place, settings, least)
    fast = _speed(model, place, settings, most_gbs)
    return replace(slow, high=fast.high) if slow and fast else None


def _speed(model: Model, place: Place, settings: Settings, ram_gbs: float) -> Speed | None:
    gpus = [_device(card) for card in place.cards]
    host_gbs = gpus[0].bandwidth_gbs if place.unified else ram_gbs
    parts, hops = parts_of_load(model, settings, gpus, Device("RAM", "cpu", host_gbs))
    return generation_speed(parts, moe=model.shape.experts is not None, hops=hops)


def _device(card: Card) -> Device:
    facts = card.facts
    if facts is None:
        return Device(card.label, "nvidia", None)
    return Device(card.label, facts.speed_class, facts.bandwidth_gbs)
