"""The overview: the state of the lab in one sentence, what is wrong, and a card for each node."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from labdash.queries.bars import (
    Bar,
    GpuView,
    LoadedView,
    Memory,
    loaded_models,
    sum_memory,
    view_gpus,
    view_ram,
)
from labdash.queries.gpu_rules import without_gpu
from labdash.queries.history import Series, memory_by_node
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.library import Library, read_library
from labdash.queries.loads import LoadView, active_loads
from labdash.queries.plan_marks import Marks, mark_gpus, marks_of
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.pulls import JobView, active_jobs, ended_lately
from workers import wire


@dataclass(frozen=True, kw_only=True)
class NodeCard:
    """A node with all that its card shows.

    ``aside`` are the loaded models that no bar tells of, or that run on the CPU in part.
    ``no_gpu`` says why there is no GPU to show.
    """

    view: NodeView
    gpus: tuple[GpuView, ...]
    ram: Bar | None
    gpu_names: tuple[tuple[str, int], ...]
    aside: tuple[LoadedView, ...]
    disks: tuple[wire.DiskReading, ...]
    versions: tuple[str, ...]
    problems: tuple[ProblemView, ...]
    history: Series
    no_gpu: ProblemView | None

    @property
    def slug(self) -> str:
        """The name of the node."""
        return self.view.node.slug

    @property
    def memory(self) -> Memory:
        """What the GPUs hold."""
        return sum_memory(self.gpus)

    @property
    def capacity_bytes(self) -> int:
        """The memory of all GPUs whose size is known."""
        return sum(gpu.bar.total_bytes or 0 for gpu in self.gpus)

    @property
    def has_processes(self) -> bool:
        """Whether any GPU tells who uses it."""
        return any(gpu.reading.processes for gpu in self.gpus)

    @property
    def mute(self) -> tuple[wire.InstanceReading, ...]:
        """The instances that do not answer."""
        instances = self.view.sample.instances if self.view.sample else ()
        return tuple(each for each in instances if each.state != "ok")

    @property
    def is_troubled(self) -> bool:
        """Whether something is wrong here that is more than a hint."""
        return any(problem.severity != "info" for problem in self.problems)

    @property
    def is_old(self) -> bool:
        """Whether what is shown is only the last that was known."""
        return self.view.liveness in {"silent", "never"}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the nodes that answer. ``power_watts`` is ``None`` where no GPU reports it."""

    nodes: int
    silent: int
    gpus: int
    memory: Memory
    power_watts: float | None


@dataclass(frozen=True, kw_only=True)
class OverviewView:
    """All that the overview shows. ``cards`` begin with the nodes in trouble.

    ``ended`` counts the pulls that ended within a day, by their state.
    """

    lab: LabView
    totals: Totals
    problems: tuple[ProblemView, ...]
    cards: tuple[NodeCard, ...]
    jobs: tuple[JobView, ...]
    ended: Mapping[str, int]
    loads: tuple[LoadView, ...]


def read_overview(*, now: datetime) -> OverviewView:
    """Read the whole lab."""
    lab = read_lab(now=now)
    library = read_library()
    problems = find_problems(lab)
    history = memory_by_node(now=now)
    marks = marks_of(lab.served)
    cards = [node_card(view, library, problems, history, marks) for view in lab.nodes]
    return OverviewView(
        lab=lab,
        totals=_totals(cards),
        problems=problems,
        cards=tuple(sorted(cards, key=lambda card: (not card.is_troubled, card.slug))),
        jobs=active_jobs(lab),
        ended=ended_lately(now),
        loads=active_loads(now=now),
    )


def node_card(
    view: NodeView,
    library: Library,
    problems: Iterable[ProblemView],
    history: Mapping[str, Series],
    marks: Marks,
) -> NodeCard:
    """Gather what is shown of one node, here and on other pages."""
    loaded = loaded_models(view, library)
    gpus = mark_gpus(view_gpus(view, loaded), view.node, loaded, marks)
    instances = view.sample.instances if view.sample else ()
    return NodeCard(
        view=view,
        gpus=gpus,
        ram=view_ram(view, loaded) if not gpus else None,
        gpu_names=tuple(Counter(gpu.reading.name or "GPU" for gpu in gpus).items()),
        aside=aside(loaded, gpus) if gpus else (),
        disks=distinct_disks(instances),
        versions=tuple(dict.fromkeys(each.version for each in instances if each.version)),
        problems=tuple(each for each in problems if each.node == view.node.slug),
        history=history.get(view.node.slug, ()),
        no_gpu=without_gpu(view),
    )


def aside(loaded: Iterable[LoadedView], gpus: Iterable[GpuView]) -> tuple[LoadedView, ...]:
    """Return the loaded models that are not wholly told by the bars."""
    drawn = {
        segment.label for gpu in gpus for segment in gpu.bar.segments if segment.kind == "model"
    }
    return tuple(each for each in loaded if each.name not in drawn or each.is_split)


def distinct_disks(instances: Iterable[wire.InstanceReading]) -> tuple[wire.DiskReading, ...]:
    """Return the file systems under the model stores, each once."""
    disks = {(each.disk.path, each.disk.total_bytes): each.disk for each in instances if each.disk}
    return tuple(disks.values())


def _totals(cards: Iterable[NodeCard]) -> Totals:
    seen = list(cards)
    awake = [card for card in seen if not card.is_old]
    gpus = [gpu for card in awake for gpu in card.gpus]
    watts = [gpu.reading.power_watts for gpu in gpus if gpu.reading.power_watts is not None]
    return Totals(
        nodes=len(seen),
        silent=len(seen) - len(awake),
        gpus=len(gpus),
        memory=sum_memory(gpus),
        power_watts=sum(watts) if watts else None,
    )
