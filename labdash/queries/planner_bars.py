"""What a plan puts on each device, as the same bars that show what is measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labdash.models import Gpu
from labdash.planner.lab import CPU, Card, Lab, Node
from labdash.planner.plan import Placement, Plan
from labdash.queries.bars import Bar, GpuView, Segment
from labdash.queries.plan_marks import owner_of

MEASURED = "models, as measured now"
IN_TURNS = "in turns: "

type Colours = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class DeviceBar:
    """A device and what is planned there. ``row`` is the GPU's, None for RAM and a card to try."""

    name: str
    bar: Bar
    planned_bytes: int
    doubt: str
    row: Gpu | None
    owner: str

    @property
    def is_over(self) -> bool:
        """Whether more is planned than a person would think fits."""
        return self.bar.total_bytes is not None and self.planned_bytes > self.bar.total_bytes


@dataclass(frozen=True, kw_only=True)
class NodeBars:
    """A machine and its devices. ``away`` says why nothing is planned there."""

    name: str
    away: str
    devices: tuple[DeviceBar, ...]


def plan_bars(
    plan: Plan,
    lab: Lab,
    *,
    colours: Colours,
    rows: Mapping[str, Gpu],
    measured: Mapping[str, int],
) -> tuple[NodeBars, ...]:
    """Draw every GPU, and RAM where layers are planned on it.

    ``colours`` are by deployment, ``rows`` and ``measured`` by device: what its models hold now.
    """
    planned = {load.device: load.planned_bytes for load in plan.devices}
    return tuple(
        NodeBars(
            name=node.name,
            away=node.away,
            devices=tuple(_devices(node, plan.placements, planned, colours, rows, measured)),
        )
        for node in lab.nodes
    )


def measured_bytes(slug: str, gpus: Iterable[GpuView]) -> dict[str, int]:
    """Tell what the models hold of each GPU now, where that is known."""
    return {
        f"{slug}/{gpu.reading.index}": sum(
            part.size_bytes for part in gpu.bar.segments if part.kind == "model"
        )
        for gpu in gpus
        if gpu.basis != "unknown" and not gpu.low
    }


def _devices(
    node: Node,
    placements: Sequence[Placement],
    planned: Mapping[str, int],
    colours: Colours,
    rows: Mapping[str, Gpu],
    measured: Mapping[str, int],
) -> Iterator[DeviceBar]:
    for card in node.cards:
        device = f"{node.name}/{card.index}"
        held = list(_held(placements, device))
        size = planned.get(device, 0)
        row = rows.get(device)
        label = "GPU" if len(node.cards) == 1 and card.index == 0 else f"GPU {card.index}"
        models = _models(held, size, colours)
        bar = Bar(
            label=label,
            total_bytes=card.total_bytes,
            used_bytes=size,
            segments=_filled(models, card, held),
            mark_bytes=measured.get(device),
            mark_label=MEASURED,
        )
        yield DeviceBar(
            name=card.name,
            bar=bar,
            planned_bytes=size,
            doubt=card.doubt,
            row=row,
            owner=owner_of(row),
        )
    ram = _ram(node, placements, planned, colours)
    if ram:
        yield ram


def _held(placements: Iterable[Placement], device: str) -> Iterator[tuple[Placement, int]]:
    """Yield what a device holds of each placement; what shares a runner takes nothing more."""
    is_host = device.endswith(f"/{CPU}")
    for placement in placements:
        choice = placement.choice
        size = choice.host_bytes if is_host else choice.bytes.get(device, 0)
        on_it = choice.cpu_layers and f"{choice.node}/{CPU}" == device if is_host else size
        if on_it and not placement.shares:
            yield placement, size


def _models(
    held: Sequence[tuple[Placement, int]], planned_bytes: int, colours: Colours
) -> list[Segment]:
    """Return a segment for each resident, and one for those that take turns."""
    stays = [(each, size) for each, size in held if each.deployment.resident]
    turns = [(each, size) for each, size in held if not each.deployment.resident]
    segments = [
        Segment(
            kind="model",
            label=each.deployment.name,
            size_bytes=size,
            colour=colours.get(each.deployment.name, 1),
            quant=each.choice.variant.quant,
            context_length=each.choice.ctx,
        )
        for each, size in sorted(stays, key=lambda pair: pair[0].load_order)
    ]
    left = planned_bytes - sum(segment.size_bytes for segment in segments)
    if turns and left > 0:
        segments.append(_in_turns(turns, left, colours))
    return segments


def _in_turns(turns: Sequence[tuple[Placement, int]], size: int, colours: Colours) -> Segment:
    largest = max(turns, key=lambda pair: pair[1])[0]
    names = [each.deployment.name for each, _ in turns]
    label = f"{names[0]}, on demand" if len(names) == 1 else IN_TURNS + ", ".join(names)
    return Segment(
        kind="demand",
        label=label,
        size_bytes=size,
        colour=colours.get(largest.deployment.name, 1),
        quant=largest.choice.variant.quant if len(names) == 1 else "",
        context_length=largest.choice.ctx if len(names) == 1 else None,
    )


def _filled(
    models: list[Segment], card: Card, held: Sequence[tuple[Placement, int]]
) -> tuple[Segment, ...]:
    """Add what others hold, what is kept for the owner and for safety, and what is left."""
    kept = card.margin_bytes
    margin = max((each.choice.margin_bytes for each, _ in held), default=0)
    parts = [
        *models,
        Segment(kind="other", label="others now", size_bytes=card.used_bytes),
        Segment(kind="reserve", label="kept for its owner", size_bytes=card.reserve_bytes),
    ]
    left = card.total_bytes - sum(part.size_bytes for part in parts)
    margin = min(max(0, left), margin if kept is None else max(kept, margin) if held else kept)
    parts += [
        Segment(kind="margin", label="margin", size_bytes=margin),
        Segment(kind="free", label="free", size_bytes=max(0, left - margin)),
    ]
    return tuple(part for part in parts if part.size_bytes or part.kind == "free")


def _ram(
    node: Node,
    placements: Sequence[Placement],
    planned: Mapping[str, int],
    colours: Colours,
) -> DeviceBar | None:
    """Draw the RAM where layers are planned on the CPU and its size is known."""
    device = f"{node.name}/{CPU}"
    held = list(_held(placements, device))
    if not held or node.ram_bytes is None:
        return None
    size = planned.get(device, 0)
    models = _models(held, size, colours)
    total = sum(part.size_bytes for part in models)
    rest = node.ram_bytes - total - node.ram_used_bytes
    parts = [
        *models,
        Segment(kind="other", label="others now", size_bytes=node.ram_used_bytes),
        Segment(kind="free", label="free", size_bytes=max(0, rest)),
    ]
    bar = Bar(label="RAM", total_bytes=node.ram_bytes, used_bytes=total, segments=tuple(parts))
    return DeviceBar(name="", bar=bar, planned_bytes=total, doubt="", row=None, owner="")
