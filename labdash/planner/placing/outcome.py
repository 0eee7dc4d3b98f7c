"""What comes of a load in one place: bytes, layers and speed, or what it lacks there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from labdash.planner.lab import Card, Variant
from labdash.planner.memory.companions import seeing_bytes
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import EXPERTS
from labdash.planner.memory.overhead import Overhead
from labdash.planner.memory.result import Estimate
from labdash.planner.memory.split import split_layers
from labdash.planner.ollama import DEFAULT_BATCH, Prediction, embedding_batch
from labdash.planner.placing.pace import expected_speed
from labdash.planner.placing.seats import Seat, engine_free_bytes
from labdash.planner.plan import Form, Limit
from labdash.planner.reading import Device
from labdash.planner.settings import Gpu, Settings


class Trial(NamedTuple):
    """A load that is tried. ``ctx`` is of one slot, ``gpu_layers`` 0 where none are said."""

    variant: Variant
    ctx: int
    seat: Seat
    gpu_layers: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """``layers``, ``gpu_bytes`` and ``margins`` have an entry a card of the seat.

    ``margins`` are bytes that stay free there, ``layers`` and bytes 0 where a card is not used.
    ``cpu_experts`` are those of ``cpu_layers`` of which the host has only the experts.
    """

    variant: Variant
    form: Form
    ctx: int
    parallel: int
    num_batch: int
    num_gpu: int | None
    layers: tuple[int, ...]
    cpu_layers: int
    cpu_experts: int
    gpu_bytes: tuple[int, ...]
    margins: tuple[int, ...]
    host_bytes: int
    predicted_bytes: int
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Why a load cannot be. ``card`` is the position of the one that is short of memory.

    ``short_bytes`` is None where more memory would not help.
    """

    limit: Limit
    short_bytes: int | None = None
    needed_bytes: int = 0
    card: int | None = None
    text: str = ""


type Found = Outcome | Miss


def judged(
    trial: Trial,
    form: Form,
    settings: Settings,
    *,
    num_gpu: int | None,
    experts: Sequence[int] = (),
    margins: Sequence[int] | None = None,
) -> Found:
    """Estimate a load and keep it where the seat has the memory for it.

    ``experts`` are the blocks whose experts the host computes, beside those that the server always
    leaves to it. ``margins`` are kept free on each GPU, None for the usual ones. Raises
    ``PlannerError`` where the engine would refuse it.
    """
    variant, ctx, seat, _ = trial
    # Ollama keeps a projector off the GPU where layers are by request.
    sees = not (num_gpu and num_gpu < all_layers(variant))
    loaded = replace(settings, images_bytes=images_of(variant, settings), images_on_gpu=sees)
    found = estimate(variant.model, loaded, learned=learned_of(seat.cards))
    layers = _layers(trial, settings, found, experts or kept_experts(trial))
    made = Outcome(
        variant=variant,
        form=form,
        ctx=ctx,
        parallel=settings.parallel,
        num_batch=settings.batch,
        num_gpu=num_gpu,
        layers=layers,
        cpu_layers=all_layers(variant) - sum(layers),
        cpu_experts=sum(each.layers for each in found.devices) - sum(layers),
        gpu_bytes=tuple(each.total_bytes for each in found.devices),
        margins=tuple(margins_of(trial) if margins is None else margins),
        host_bytes=found.host.total_bytes,
        predicted_bytes=predicted_bytes(variant, ctx * settings.parallel),
        tokens_per_s=pace(variant, settings, seat),
    )
    return _checked(made, seat)


def _layers(
    trial: Trial, settings: Settings, found: Estimate, experts: Sequence[int]
) -> tuple[int, ...]:
    """Count the layers of each GPU, without those whose experts the host computes."""
    layers = [each.layers for each in found.devices]
    if experts:
        homes = split_layers(trial.variant.model.shape.block_count, settings).layers
        for block in experts:
            if homes[block] >= 0:
                layers[homes[block]] -= 1
    return tuple(layers)


def _checked(made: Outcome, seat: Seat) -> Found:
    for position, used in enumerate(made.gpu_bytes):
        short = used + made.margins[position] - seat.cards[position].room_bytes
        if used and short > 0:
            return Miss(limit="gpu", short_bytes=short, needed_bytes=used, card=position)
    needed = made.host_bytes + (sum(made.gpu_bytes) if seat.unified else 0)
    if seat.ram_room_bytes is not None and (short := needed - seat.ram_room_bytes) > 0:
        return Miss(limit="ram", short_bytes=short, needed_bytes=needed)
    return made


def settings_of(trial: Trial, *, sized: bool) -> Settings:
    """Return what the engine is started with, every layer on the GPUs that it sees.

    ``sized``: with their free memory, by which several share the layers.
    """
    variant, ctx, seat, _ = trial
    rules = seat.rules
    slots = rules.slots_for(variant)
    # A text is embedded in one batch; what completes text reads it in as many as it takes.
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
        tensor_split=_shares(seat),
        cpu_override=_pattern(kept_experts(trial)),
        dry_run=False,
    )


def kept_experts(trial: Trial) -> tuple[int, ...]:
    """Return the blocks whose experts a server was told to leave to the host."""
    blocks = trial.variant.model.shape.layers[: trial.seat.rules.kept_blocks]
    return tuple(index for index, block in enumerate(blocks) if block.experts)


def _pattern(blocks: Sequence[int]) -> str | None:
    """Write which tensors that are."""
    return rf"blk\.(?:{'|'.join(map(str, blocks))})\.{EXPERTS}" if blocks else None


def _shares(seat: Seat) -> tuple[float, ...] | None:
    """Return the shares that a server was told, None where it divides by what is free."""
    told, count = seat.rules.tensor_split, len(seat.cards)
    shares = (*told, *(0.0,) * count)[:count]
    return shares if seat.joined and sum(shares) > 0 else None


def _gpu(card: Card, *, sized: bool) -> Gpu:
    return Gpu(engine_free_bytes(card) if sized else None, card.vendor, card.sm_count)


def learned_of(cards: Sequence[Card]) -> tuple[Overhead | None, ...]:
    """Return what loads on each card were seen to take beside their buffers."""
    return tuple(card.learned for card in cards)


def all_layers(variant: Variant) -> int:
    """Count the layers, the output layer among them."""
    return variant.model.shape.block_count + 1


def margins_of(trial: Trial) -> list[int]:
    """Tell what stays free of each GPU: what its owner says, or else what the engine keeps.

    To the engine all is free that the owner reserves, so that its margin may lie there.
    """
    rules, cards = trial.seat.rules, trial.seat.cards
    return [
        max(0, rules.margin_bytes(trial.variant, position) - card.reserve_bytes)
        if card.margin_bytes is None
        else card.margin_bytes
        for position, card in enumerate(cards)
    ]


def fit_is_off(trial: Trial) -> bool:
    """Tell whether an owner wants a smaller margin than the engine keeps without being told."""
    return any(
        card.margin_bytes is not None
        and card.margin_bytes < trial.seat.rules.margin_bytes(trial.variant, position)
        for position, card in enumerate(trial.seat.cards)
    )


def images_of(variant: Variant, settings: Settings) -> int:
    """Count what of a variant reads images."""
    metadata = variant.model.metadata
    return seeing_bytes(variant.projector_bytes, metadata, flash_attn=settings.flash_attn)


@lru_cache(maxsize=4096)
def predicted_bytes(variant: Variant, ctx: int) -> int:
    """Tell what Ollama takes a model for, by which it chooses GPUs and evicts.

    ``ctx`` is the context over all slots. Files of Ollama's library hold the projector too, at
    Hugging Face it is a second file.
    """
    shape = variant.model.shape
    beside = variant.projector_bytes if variant.name.startswith("hf.co/") else 0
    file_bytes = (variant.file_bytes or 0) - beside
    return Prediction(
        file_bytes=max(file_bytes, variant.model.weight_bytes),
        block_count=shape.block_count,
        heads_kv=min((layer.heads_kv for layer in shape.layers), default=1),
        heads=max((layer.heads for layer in shape.layers if layer.heads), default=1),
        embd=shape.embd,
    ).bytes(ctx)


def pace(variant: Variant, settings: Settings, seat: Seat) -> float | None:
    """Tell the tokens a second to expect."""
    cards = seat.cards if settings.gpus else ()
    gpus = [Device("", card.speed_class, card.bandwidth_gbs) for card in cards]
    return expected_speed(variant.model, settings, gpus, seat.ram_gbs)
