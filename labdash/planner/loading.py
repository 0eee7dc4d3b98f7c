"""What comes of several loads on one node, in an order in which none drives out another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labdash.planner.lab import Deployment, Node
from labdash.planner.plan import Choice, Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A choice for one replica of a deployment."""

    deployment: Deployment
    replica: int
    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``choice`` is as it comes out at its turn. ``shares`` names whose runner serves it too."""

    pick: Pick
    choice: Choice
    load_order: int
    shares: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """``loads`` are in the order of loading; ``devices`` gives the planned bytes of each device."""

    loads: tuple[Load, ...]
    devices: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why picks cannot be together. ``between`` names the deployments that are at odds."""

    limit: Limit
    device: str | None
    short_bytes: int | None
    text: str
    between: tuple[str, ...]


def settle(node: Node, picks: Sequence[Pick]) -> Settled | Conflict:
    """Load all that is picked on a node, the same way each time."""
    loads = tuple(
        Load(pick=pick, choice=pick.choice, load_order=order)
        for order, pick in enumerate(picks, start=1)
    )
    devices: dict[str, int] = {}
    for load in loads:
        for device, size in load.choice.bytes.items():
            devices[device] = devices.get(device, 0) + size
    rooms = {f"{node.name}/{card.index}": card.room_bytes for card in node.cards}
    for device, size in devices.items():
        if device in rooms and size > rooms[device]:
            names = tuple(load.pick.deployment.name for load in loads)
            short = size - rooms[device]
            return Conflict(limit="gpu", device=device, short_bytes=short, text="", between=names)
    return Settled(loads=loads, devices=devices)
