"""What comes of a load in one place: bytes, layers and speed, or what it lacks there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Card, Variant
from labdash.planner.layers import most_layers
from labdash.planner.memory.companions import image_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.overhead import Overhead
from labdash.planner.memory.result import Estimate
from labdash.planner.ollama import DEFAULT_BATCH, MIB, Prediction, embedding_batch
from labdash.planner.pace import expected_speed
from labdash.planner.plan import Form, Limit
from labdash.planner.reading import Device
from labdash.planner.seats import Seat
from labdash.planner.settings import Gpu, Settings

# A projector of which no shape is known, for its largest image: half a GiB to one is usual
# (llama.cpp, clip.cpp, by the figures of Gemma 3 and Qwen-VL). The margin covers the rest.
IMAGE_BYTES = 512 * MIB


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """``layers`` and ``gpu_bytes`` have an entry a card of the seat, zeros where it is not used."""

    variant: Variant
    form: Form
    ctx: int
    parallel: int
    num_batch: int
    num_gpu: int | None
    layers: tuple[int, ...]
    cpu_layers: int
    gpu_bytes: tuple[int, ...]
    host_bytes: int
    predicted_bytes: int
    margin_bytes: int
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Why a load cannot be. ``card`` is the position of the one that is short of memory."""

    limit: Limit
    short_bytes: int | None = None
    needed_bytes: int = 0
    card: int | None = None
    text: str = ""


type Found = Outcome | Miss


@lru_cache(maxsize=65_536)
def whole(variant: Variant, ctx: int, seat: Seat) -> Found:
    """Load all layers on the seat's one GPU."""
    settings = settings_of(variant, ctx, seat, sized=False)
    try:
        found = estimate(variant.model, settings, learned=learned_of(seat.cards))
    except PlannerError as error:
        return Miss(limit="instance", text=str(error))
    used = with_projector(variant, [each.total_bytes for each in found.devices], settings)
    return _checked(
        Outcome(
            variant=variant,
            form="gpu",
            ctx=ctx,
            parallel=settings.parallel,
            num_batch=settings.batch,
            num_gpu=all_layers(variant) if fit_is_off(variant, seat) else None,
            layers=(all_layers(variant),),
            cpu_layers=0,
            gpu_bytes=used,
            host_bytes=found.host.total_bytes,
            predicted_bytes=predicted_bytes(variant, ctx * settings.parallel),
            margin_bytes=margin_of(variant, seat, 0),
            tokens_per_s=pace(variant, settings, seat),
        ),
        seat,
    )


@lru_cache(maxsize=65_536)
def on_cpu(variant: Variant, ctx: int, seat: Seat) -> Found:
    """Load everything into RAM: the engine does not even look at its GPUs."""
    settings = replace(settings_of(variant, ctx, seat, sized=False), gpus=())
    try:
        found = estimate(variant.model, settings)
    except PlannerError as error:
        return Miss(limit="instance", text=str(error))
    return _checked(
        Outcome(
            variant=variant,
            form="cpu",
            ctx=ctx,
            parallel=settings.parallel,
            num_batch=settings.batch,
            num_gpu=0,
            layers=(0,) * len(seat.cards),
            cpu_layers=all_layers(variant),
            gpu_bytes=(0,) * len(seat.cards),
            host_bytes=found.host.total_bytes + projector_bytes(variant, settings),
            predicted_bytes=predicted_bytes(variant, ctx * settings.parallel),
            margin_bytes=0,
            tokens_per_s=pace(variant, settings, seat),
        ),
        seat,
    )


@lru_cache(maxsize=65_536)
def in_part(variant: Variant, ctx: int, seat: Seat) -> Found:
    """Load as many layers on the seat's one GPU as it takes, but not all."""
    room = seat.cards[0].room_bytes - margin_of(variant, seat, 0)
    settings = settings_of(variant, ctx, seat, sized=False)
    settings = replace(settings, gpus=(replace(settings.gpus[0], free_bytes=max(0, room)),))
    try:
        settings, found = most_layers(variant.model, settings, learned=learned_of(seat.cards))
    except PlannerError as error:
        return Miss(limit="instance", text=str(error))
    return _checked(_partial(variant, ctx, seat, settings, found), seat)


def _partial(
    variant: Variant, ctx: int, seat: Seat, settings: Settings, found: Estimate
) -> Outcome:
    (device,) = found.devices
    return Outcome(
        variant=variant,
        form="partial",
        ctx=ctx,
        parallel=settings.parallel,
        num_batch=settings.batch,
        num_gpu=settings.gpu_layers,
        layers=(device.layers,),
        cpu_layers=all_layers(variant) - device.layers,
        gpu_bytes=(device.total_bytes,),
        # Ollama keeps a projector off the GPU where layers are.
        host_bytes=found.host.total_bytes + projector_bytes(variant, settings),
        predicted_bytes=predicted_bytes(variant, ctx * settings.parallel),
        margin_bytes=margin_of(variant, seat, 0),
        tokens_per_s=pace(variant, settings, seat),
    )


def _checked(made: Outcome, seat: Seat) -> Found:
    """Keep what the seat has the memory for."""
    if made.form == "partial" and not sum(made.layers):
        return Miss(limit="gpu", short_bytes=None, card=0)
    for position, (card, used) in enumerate(zip(seat.cards, made.gpu_bytes, strict=True)):
        margin = margin_of(made.variant, seat, position) if used else 0
        if (short := used + margin - card.room_bytes) > 0 and used:
            return Miss(limit="gpu", short_bytes=short, needed_bytes=used, card=position)
    return _ram_checked(made, seat)


def _ram_checked(made: Outcome, seat: Seat) -> Found:
    needed = made.host_bytes + (sum(made.gpu_bytes) if seat.unified else 0)
    if seat.ram_room_bytes is not None and (short := needed - seat.ram_room_bytes) > 0:
        return Miss(limit="ram", short_bytes=short, needed_bytes=needed)
    return made


def settings_of(variant: Variant, ctx: int, seat: Seat, *, sized: bool) -> Settings:
    """Return what the engine is started with, every layer on the GPUs that it sees.

    ``sized``: with their free memory, by which several share the layers.
    """
    rules = seat.rules
    slots = rules.slots_for(variant)
    batch = embedding_batch(ctx) if variant.embedding else DEFAULT_BATCH
    return Settings(
        build=rules.build,
        ctx=ctx * slots,
        parallel=slots,
        flash_attn=rules.flash_attn,
        type_k=rules.kv_type,
        type_v=rules.kv_type,
        batch=batch,
        ubatch=batch,
        gpus=tuple(_gpu(card, sized=sized) for card in seat.cards),
        dry_run=False,
    )


def _gpu(card: Card, *, sized: bool) -> Gpu:
    free = max(0, card.total_bytes - card.used_bytes) if sized else None
    return Gpu(free, card.vendor, card.sm_count)


def learned_of(cards: Sequence[Card]) -> tuple[Overhead | None, ...]:
    """Return what loads on each card were seen to take beside their buffers."""
    return tuple(card.learned for card in cards)


def all_layers(variant: Variant) -> int:
    """Count the layers, the output layer among them."""
    return variant.model.shape.block_count + 1


def margin_of(variant: Variant, seat: Seat, position: int) -> int:
    """Tell what stays free of a GPU: what its owner says, or else what the engine keeps."""
    own = seat.cards[position].margin_bytes
    return seat.rules.margin_bytes(variant, position) if own is None else own


def fit_is_off(variant: Variant, seat: Seat) -> bool:
    """Tell whether an owner wants a smaller margin than the engine keeps without being told."""
    return any(
        card.margin_bytes is not None
        and card.margin_bytes < seat.rules.margin_bytes(variant, position)
        for position, card in enumerate(seat.cards)
    )


def with_projector(variant: Variant, totals: Sequence[int], settings: Settings) -> tuple[int, ...]:
    """Add a projector to the first GPU."""
    return (totals[0] + projector_bytes(variant, settings), *totals[1:])


def projector_bytes(variant: Variant, settings: Settings) -> int:
    """Count a projector and the graph of its largest image."""
    if not variant.projector_bytes:
        return 0
    graph = image_bytes(variant.model.metadata, flash_attn=settings.flash_attn)
    return variant.projector_bytes + (graph or IMAGE_BYTES)


@lru_cache(maxsize=4096)
def predicted_bytes(variant: Variant, ctx: int) -> int:
    """Tell what Ollama takes a model for, by which it chooses GPUs and evicts.

    ``ctx`` is the context over all slots.
    """
    shape = variant.model.shape
    heads = [layer for layer in shape.layers if layer.heads]
    file_bytes = (variant.file_bytes or 0) - variant.projector_bytes
    return Prediction(
        file_bytes=max(file_bytes, variant.model.weight_bytes),
        block_count=shape.block_count,
        heads_kv=min((layer.heads_kv for layer in shape.layers), default=1),
        heads=max((layer.heads for layer in heads), default=1),
        embd=shape.embd,
    ).bytes(ctx)


def pace(variant: Variant, settings: Settings, seat: Seat) -> float | None:
    """Tell the tokens a second to expect."""
    cards = seat.cards if settings.gpus else ()
    gpus = [Device("", card.speed_class, card.bandwidth_gbs) for card in cards]
    return expected_speed(variant.model, settings, gpus, seat.ram_gbs)
