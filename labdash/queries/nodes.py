"""The nodes as a table, and one node with all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q

from labdash.models import Node
from labdash.queries.history import SCALES, Metric, Series, Span, gpu_history
from labdash.queries.instances import InstanceView, view_instances
from labdash.queries.lab import LabView, read_lab
from labdash.queries.library import read_library
from labdash.queries.overview import NodeCard, node_card
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.pulls import JobView, jobs_of_node

RECENT_JOBS = 8
TITLES: Mapping[Metric, str] = {
    "memory_used_bytes": "Memory",
    "utilization_percent": "Utilisation",
    "temperature_celsius": "Temperature",
    "power_watts": "Power",
}


@dataclass(frozen=True, kw_only=True)
class NodesView:
    """All nodes; ``models`` counts the names installed on each, by its slug.

    ``None`` until one of its servers has listed them.
    """

    lab: LabView
    problems: tuple[ProblemView, ...]
    cards: tuple[NodeCard, ...]
    models: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One measure of one GPU over time. ``top`` is the value at the upper edge."""

    metric: Metric
    title: str
    span_label: str
    values: Series
    top: float


@dataclass(frozen=True, kw_only=True)
class GpuCharts:
    """What a GPU did over a span."""

    label: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class NodePage:
    """All that the page of a node shows."""

    lab: LabView
    card: NodeCard
    problems: tuple[ProblemView, ...]
    instances: tuple[InstanceView, ...]
    history: tuple[GpuCharts, ...]
    span: Span
    jobs: tuple[JobView, ...]


def read_nodes(*, now: datetime) -> NodesView:
    """Read the table of nodes."""
    lab = read_lab(now=now)
    library, problems = read_library(), find_problems(lab)
    return NodesView(
        lab=lab,
        problems=problems,
        cards=tuple(node_card(view, library, problems, {}) for view in lab.nodes),
        models=_installed(),
    )


def read_node(slug: str, span: Span, *, now: datetime) -> NodePage | None:
    """Read one node, or ``None`` if there is none of that name."""
    lab = read_lab(now=now)
    view = next((each for each in lab.nodes if each.node.slug == slug), None)
    if view is None:
        return None
    library, problems = read_library(), find_problems(lab)
    return NodePage(
        lab=lab,
        card=node_card(view, library, problems, {}),
        problems=problems,
        instances=view_instances(view, library),
        history=_history(view.node, span, now),
        span=span,
        jobs=jobs_of_node(view.node.pk, lab, limit=RECENT_JOBS),
    )


def _installed() -> dict[str, int | None]:
    local = Q(instances__installed_models__is_cloud=False)
    counted = Node.objects.annotate(
        models=Count("instances__installed_models", filter=local),
        listed_at=Max("instances__inventory_at"),
    )
    rows = counted.values_list("slug", "models", "listed_at")
    return {slug: models if listed_at else None for slug, models, listed_at in rows}


def _history(node: Node, span: Span, now: datetime) -> tuple[GpuCharts, ...]:
    gpus = {gpu.pk: gpu for gpu in node.gpus.all()}
    found = gpu_history(gpus, span, now=now)
    charts = []
    for pk, gpu in gpus.items():
        drawn = tuple(
            Chart(
                metric=metric,
                title=TITLES[metric],
                span_label=SCALES[span].label,
                values=values,
                top=_top(metric, values, gpu.memory_total_bytes),
            )
            for metric, values in found[pk].items()
            if any(value is not None for value in values)
        )
        charts.append(GpuCharts(label=f"GPU {gpu.index} · {gpu.name}", charts=drawn))
    return tuple(charts)


def _top(metric: Metric, values: Series, memory_total_bytes: int | None) -> float:
    """Choose the upper edge: what is possible where that is known, else a little above the peak."""
    peak = max((value for value in values if value is not None), default=0.0)
    if metric == "memory_used_bytes":
        return float(memory_total_bytes or peak)
    return max(peak * 1.1, 100.0)


def span_of(text: str | None) -> Span:
    """Return a span that is offered."""
    return next((span for span in SCALES if span == text), "1h")
