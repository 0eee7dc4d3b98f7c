"""The lab as it is known now: rows joined with the newest samples. Every page begins here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from labdash.live import LiveLab, NodeState, StoreDown, read_live
from labdash.models import (
    InstalledModel,
    LoadJob,
    LoadState,
    LoadWish,
    Node,
    PlanItem,
    Problem,
    PullSettings,
    UpstreamTag,
)
from labdash.queries.schedule_rows import ScheduleRow, read_rows
from labdash.queries.upkeep_rows import Upkeep, read_upkeep
from workers import wire

# A worker samples every 5 s: one lost sample is no news, two are; a dead node shows within 15 s.
LATE_AFTER_S = 8.0
SILENT_AFTER_S = 13.0
# For so long a load that failed is news; afterwards it stands among the recent ones.
FAILED_LOAD_FOR = timedelta(minutes=15)

type Liveness = Literal["live", "late", "silent", "never"]


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node and the newest that is known of it. ``age_s`` is ``None`` if nothing ever came.

    ``sample`` is ``None`` also where another version kept it in a way that this one cannot read.
    ``other_protocol`` is what its worker speaks where that is not this hub's version. ``rival``
    is the machine of a second worker that reports as this node.
    """

    node: Node
    liveness: Liveness
    age_s: float | None
    sample: wire.Sample | None
    other_protocol: int | None = None
    rival: str | None = None

    def reading_of(self, instance: str) -> wire.InstanceReading | None:
        """Return what the node tells of one of its servers."""
        readings = self.sample.instances if self.sample else ()
        return next((each for each in readings if each.name == instance), None)


@dataclass(frozen=True, kw_only=True)
class LabView:
    """All nodes at ``now``. Without the store, samples are those that the database kept.

    ``intake_ok`` is false when the hub worker has not read reports for some seconds, ``beat_ok``
    when it got no task of the scheduler for half a minute. ``database_error`` is why it could last
    not store reports, which matters where ``intake_ok`` is false. ``since`` holds when each known
    problem began, by its code, node and subject. ``with_models`` are the keys of the instances on
    which anything is installed. ``failed_loads`` are recent loads by hand that came to nothing.
    ``upkeep`` is the plan in force, ``schedules`` are those that are not paused.
    ``outdated`` are names of which some server has an older version than is published.
    ``keep_free_bytes`` is what the lab keeps free on disks.
    """

    now: datetime
    store_ok: bool
    nodes: tuple[NodeView, ...]
    intake_ok: bool = True
    database_error: str | None = None
    beat_ok: bool = True
    cache_trouble: str | None = None
    since: Mapping[tuple[str, str, str], datetime] = field(default_factory=dict)
    with_models: frozenset[int] = frozenset()
    failed_loads: tuple[LoadJob, ...] = ()
    upkeep: Upkeep | None = None
    schedules: tuple[ScheduleRow, ...] = ()
    outdated: tuple[str, ...] = ()
    keep_free_bytes: int = 0

    @property
    def served(self) -> tuple[PlanItem, ...]:
        """What the plan in force serves; nothing where there is none."""
        return self.upkeep.served if self.upkeep else ()


def read_lab(*, now: datetime) -> LabView:
    """Return all nodes with their newest samples, whether or not the store answers."""
    nodes = list(Node.objects.prefetch_related("instances", "gpus"))
    lab = LabView(now=now, store_ok=True, nodes=(), since=_since(), with_models=_with_models())
    lab = replace(lab, failed_loads=_failed_loads(now), upkeep=read_upkeep(), schedules=read_rows())
    lab = replace(lab, outdated=_outdated(), keep_free_bytes=PullSettings.read().keep_free_bytes)
    try:
        found = read_live(node.slug for node in nodes)
    except StoreDown:
        kept = tuple(view_node(node, None, now=now) for node in nodes)
        return replace(lab, store_ok=False, nodes=kept)
    views = tuple(_view(node, found, now=now) for node in nodes)
    return replace(
        lab,
        nodes=views,
        intake_ok=found.intake_alive,
        database_error=found.database_error,
        beat_ok=found.beat_alive,
        cache_trouble=found.cache_trouble,
    )


def _since() -> dict[tuple[str, str, str], datetime]:
    rows = Problem.objects.values_list("code", "node_slug", "subject", "since")
    return {(code, slug, subject): since for code, slug, subject, since in rows}


def _failed_loads(now: datetime) -> tuple[LoadJob, ...]:
    """Return the loads that failed lately and after which nothing else was done to the model."""
    recent = LoadJob.objects.filter(created_at__gt=now - FAILED_LOAD_FOR, by_plan=False)
    recent = recent.order_by("created_at")
    last = {(job.instance_id, job.model): job for job in recent.select_related("instance")}
    return tuple(
        job for job in last.values() if job.wish == LoadWish.LOAD and job.state == LoadState.FAILED
    )


def _outdated() -> tuple[str, ...]:
    """Return the names of which some server has an older version than is published."""
    behind = UpstreamTag.objects.filter(behind__gt=0)
    return tuple(behind.order_by("name").values_list("name", flat=True))


def _with_models() -> frozenset[int]:
    rows = InstalledModel.objects.order_by().values_list("instance_id", flat=True).distinct()
    return frozenset(rows)


def _view(node: Node, found: LiveLab, *, now: datetime) -> NodeView:
    view = view_node(node, found.states.get(node.slug), now=now)
    return replace(view, other_protocol=found.other_protocols.get(node.slug))


def view_node(node: Node, state: NodeState | None, *, now: datetime) -> NodeView:
    """Join a node with the newest that is known of it, by the store or by the database.

    A store that was restarted may remember less than the database.
    """
    kept_at = node.last_seen_at
    if kept_at and (state is None or state.arrived_at < kept_at):
        kept = _kept(node.last_sample)
        if kept or state is None:
            return _seen(node, kept, kept_at, now=now)
    if state is None:
        return NodeView(node=node, liveness="never", age_s=None, sample=None)
    seen = _seen(node, state.sample, state.arrived_at, now=now)
    return replace(seen, rival=state.rival)


def _seen(
    node: Node, sample: wire.Sample | None, arrived_at: datetime, *, now: datetime
) -> NodeView:
    age_s = max(0.0, (now - arrived_at).total_seconds())
    return NodeView(node=node, liveness=_liveness(age_s), age_s=age_s, sample=sample)


def _liveness(age_s: float) -> Liveness:
    if age_s <= LATE_AFTER_S:
        return "live"
    return "late" if age_s <= SILENT_AFTER_S else "silent"


def _kept(entry: object) -> wire.Sample | None:
    """Read what the database kept; ``None`` where another version wrote it another way."""
    try:
        return wire.Sample.model_validate(entry)
    except ValidationError:
        return None
