"""What the plan in force expects on each GPU, as marks on the bars of what is measured."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from labdash.models import Gpu, Node, PlanItem, Residency
from labdash.planner.placing.inventory import plain
from labdash.queries.bars import GpuView, LoadedView

EXPECTS = "models as planned"
GIVEN_BACK = "given back to its owner"
AT_PLAY = "given back while other programs use it"


@dataclass(kw_only=True)
class Mark:
    """What one device is to hold. ``demand_bytes`` by plain name: what loads when somebody asks."""

    resident_bytes: int = 0
    demand_bytes: dict[str, int] = field(default_factory=dict)

    def expected_bytes(self, loaded: Iterable[str]) -> int:
        """Sum up what stays, and what of the rest is loaded now."""
        return self.resident_bytes + sum(self.demand_bytes.get(plain(each), 0) for each in loaded)


type Marks = Mapping[str, Mark]


def marks_of(items: Iterable[PlanItem]) -> Marks:
    """Return the marks by device, ``rog/0``, of what the plan in force serves."""
    marks: defaultdict[str, Mark] = defaultdict(Mark)
    items = tuple(items)
    stays = {item.deployment_name for item in items if item.residency == Residency.RESIDENT}
    for item in items:
        # It is served by the runner of another, which counts already.
        if item.shares and item.shares in stays:
            continue
        for device, size_bytes in item.bytes.items():
            mark = marks[device]
            if item.residency == Residency.RESIDENT:
                mark.resident_bytes += size_bytes
            else:
                mark.demand_bytes[plain(item.served_name)] = size_bytes
    return dict(marks)


def left_out_of(items: Iterable[PlanItem]) -> dict[tuple[str, str], int]:
    """Return what Ollama's sizes lack of planned models, by node and plain name."""
    return {
        (item.instance.node.slug, plain(item.served_name)): item.left_out_bytes
        for item in items
        if item.left_out_bytes
    }


def mark_gpus(
    gpus: Iterable[GpuView], node: Node, loaded: Iterable[LoadedView], marks: Marks
) -> tuple[GpuView, ...]:
    """Put the marks of a plan on the bars of a node, and say which cards its owner has back."""
    names = {each.name for each in loaded}
    rows = {row.index: row for row in node.gpus.all()}
    return tuple(_marked(gpu, node.slug, rows, names, marks) for gpu in gpus)


def owner_of(row: Gpu | None) -> str:
    """Say that the plan leaves a card to its owner; nothing where it does not."""
    if row is None or not row.is_returned:
        return ""
    return GIVEN_BACK if row.given_back else AT_PLAY


def _marked(
    gpu: GpuView, slug: str, rows: Mapping[int, Gpu], names: set[str], marks: Marks
) -> GpuView:
    index = gpu.reading.index
    owner = owner_of(rows.get(index))
    # What Ollama's word leaves out cannot be compared.
    if not marks or gpu.low or gpu.reading.state != "ok":
        return replace(gpu, owner=owner)
    expected = marks.get(f"{slug}/{index}", Mark()).expected_bytes(names)
    bar = replace(gpu.bar, mark_bytes=expected, mark_label=EXPECTS)
    return replace(gpu, bar=bar, owner=owner)
