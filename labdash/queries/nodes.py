"""The nodes as a table, and one node with all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q

from labdash.models import Node
from labdash.queries.charts import Charts, read_charts
from labdash.queries.history import SCALES, Span
from labdash.queries.instances import InstanceView, view_instances
from labdash.queries.lab import LabView, read_lab
from labdash.queries.library import read_library
from labdash.queries.loads import LoadView, loads_of_node
from labdash.queries.overview import NodeCard, node_card
from labdash.queries.plan_marks import marks_of
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.pulls import JobView, jobs_of_node

RECENT_JOBS = 8


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
class NodePage:
    """All that the page of a node shows."""

    lab: LabView
    card: NodeCard
    problems: tuple[ProblemView, ...]
    instances: tuple[InstanceView, ...]
    history: Charts
    span: Span
    jobs: tuple[JobView, ...]
    loads: tuple[LoadView, ...]


def read_nodes(*, now: datetime) -> NodesView:
    """Read the table of nodes."""
    lab = read_lab(now=now)
    library, problems = read_library(), find_problems(lab)
    return NodesView(
        lab=lab,
        problems=problems,
        cards=tuple(node_card(view, library, problems, {}, {}) for view in lab.nodes),
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
        card=node_card(view, library, problems, {}, marks_of(lab.served)),
        problems=problems,
        instances=view_instances(view, library),
        history=read_charts(view.node, library, span, now=now),
        span=span,
        jobs=jobs_of_node(view.node.pk, lab, limit=RECENT_JOBS),
        loads=loads_of_node(view.node.pk, now=now),
    )


def _installed() -> dict[str, int | None]:
    local = Q(instances__installed_models__is_cloud=False)
    counted = Node.objects.annotate(
        models=Count("instances__installed_models", filter=local),
        listed_at=Max("instances__inventory_at"),
    )
    rows = counted.values_list("slug", "models", "listed_at")
    return {slug: models if listed_at else None for slug, models, listed_at in rows}


def span_of(text: str | None) -> Span:
    """Return a span that is offered."""
    return next((span for span in SCALES if span == text), "1h")
