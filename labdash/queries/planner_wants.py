"""What can be chosen for a deployment now: places, devices and other deployments."""

from dataclasses import dataclass

from labdash.models import Deployment, Gpu, InstalledModel, Node
from labdash.planner.lab import CPU
from labdash.planner.telling.names import FOLDER


@dataclass(frozen=True, kw_only=True)
class Choices:
    """``places`` are nodes and tags; ``devices`` have what a person reads beside each."""

    places: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]
    others: tuple[str, ...]


def choices(row: Deployment | None) -> Choices:
    """Return what a deployment can be bound to, ``None`` for one that is new."""
    nodes = list(Node.objects.order_by("slug"))
    tags = sorted({str(tag) for node in nodes for tag in node.tags} - {node.slug for node in nodes})
    cards = Gpu.objects.select_related("node").order_by("node__slug", "index")
    devices = [(f"{card.node.slug}/{card.index}", _card(card)) for card in cards]
    hosts = [(f"{node.slug}/{CPU}", f"{node.slug} · CPU") for node in nodes]
    others = Deployment.objects.all()
    return Choices(
        places=(*(node.slug for node in nodes), *tags),
        devices=(*devices, *hosts),
        others=tuple(each.name for each in others if each != row),
    )


def count_present() -> int:
    """Count the models from which a first plan can begin."""
    rows = InstalledModel.objects.in_use().filter(is_cloud=False, variant__isnull=False)
    rows = rows.exclude(name__startswith=FOLDER)
    return rows.values("instance__node_id", "name").distinct().count()


def read_cloud() -> tuple[str, ...]:
    """Return the names that are installed and run in Ollama's cloud."""
    rows = InstalledModel.objects.filter(is_cloud=True).order_by("name")
    return tuple(rows.values_list("name", flat=True).distinct())


def _card(card: Gpu) -> str:
    return f"{card.node.slug} · GPU {card.index} · {card.name.removeprefix('NVIDIA ')}"
