"""The plan in force: how far it is applied, and what is seen of each of its parts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from labdash.models import (
    IN_FORCE,
    ItemState,
    ItemWish,
    Plan,
    PlanItem,
    PlanState,
    PullJob,
    PullState,
    Residency,
    Verdict,
)
from labdash.planner.placing.engine import is_old
from labdash.planner.staying import Stay
from labdash.queries.memory_now import devices_of
from labdash.queries.pulls import PHASES
from labdash.queries.upkeep_rows import Upkeep
from labdash.wording import size, speed

FINE = (Verdict.AS_PLANNED, Verdict.UNCHECKED, Verdict.CANNOT_CHECK)
ON_CALL = "ready, loads when asked"


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """A part of a plan. ``fraction`` is of a download that runs."""

    item: PlanItem
    words: str
    level: str
    fraction: float | None = None
    figures: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ForceView:
    """The plan in force. ``told`` are the parts that need a look, ``rest`` those that do not."""

    plan: Plan | None = None
    title: str = ""
    words: str = ""
    is_applying: bool = False
    since: datetime | None = None
    told: tuple[ItemView, ...] = ()
    rest: tuple[ItemView, ...] = ()


def in_force() -> Plan | None:
    """Return the plan that is being applied or kept up."""
    return Plan.objects.in_force().first()


def force_of(upkeep: Upkeep | None) -> ForceView:
    """Show the plan in force with all of its parts; an empty view where there is none."""
    if upkeep is None:
        return ForceView()
    return view_force(upkeep.plan, [view_item(item) for item in upkeep.items])


def read_stays() -> dict[str, Stay]:
    """Return where the plan in force has what is wanted as it was when it was applied."""
    items = PlanItem.objects.filter(plan__state__in=IN_FORCE, wish=ItemWish.SERVE)
    unchanged = items.filter(deployment__changed_at__lte=F("plan__created_at"))
    rows = unchanged.exclude(state=ItemState.FAILED).select_related("instance__node", "deployment")
    return {row.deployment.name: stay_of(row) for row in rows if row.deployment}


def stay_of(item: PlanItem) -> Stay:
    """Tell where and how an item is served. An old Ollama chooses among its GPUs by itself."""
    gpus = () if is_old(item.instance.version) else tuple(devices_of(item.bytes))
    return Stay(
        node=item.instance.node.slug,
        ctx=item.ctx or 0,
        quant=item.quant,
        pin=gpus[0] if len(gpus) == 1 else None,
    )


def plan_before() -> Plan | None:
    """Return the plan to which one click goes back: what came by itself is none of these.

    A plan that came back after a card was returned counts as the one that it repeats.
    """
    now = in_force()
    if now is not None and now.returns_to is not None and now.requested_by_id is None:
        now = now.returns_to
    before = Plan.objects.filter(state=PlanState.REPLACED, instead_of=None)
    before = before.exclude(returns_to__isnull=False, requested_by=None)
    before = before.filter(pk__lt=now.pk) if now else before
    return before.order_by("-pk").first()


def view_force(plan: Plan, views: Iterable[ItemView]) -> ForceView:
    """Put into words how a plan stands."""
    parts = tuple(views)
    is_applying = plan.state == PlanState.APPLYING
    told = parts if is_applying else tuple(each for each in parts if not is_fine(each.item))
    rest = tuple(each for each in parts if each not in told and each.item.wish == ItemWish.SERVE)
    return ForceView(
        plan=plan,
        title="Being applied" if is_applying else "In force",
        words=_words(parts, is_applying=is_applying),
        is_applying=is_applying,
        since=plan.applied_at or plan.created_at,
        told=told,
        rest=rest,
    )


def is_fine(item: PlanItem) -> bool:
    """Whether nothing of a part needs a look."""
    return item.state == ItemState.READY and (item.verdict in FINE or is_on_call(item))


def is_on_call(item: PlanItem) -> bool:
    """Whether a part is ready and waits for somebody to ask."""
    waits = item.verdict in {Verdict.UNCHECKED, Verdict.NOT_LOADED}
    on_demand = item.residency == Residency.ON_DEMAND and item.state == ItemState.READY
    return on_demand and waits and item.wish == ItemWish.SERVE


def view_item(item: PlanItem) -> ItemView:
    """Put into words how a part of a plan stands."""
    job = item.pull_job if item.state == ItemState.PULLING else None
    words, level = _state(item)
    return ItemView(
        item=item,
        words=words,
        level=level,
        fraction=_fraction(job),
        figures=tuple(_figures(job)),
        reason=item.reason or ("" if is_fine(item) else item.verdict_text),
    )


def _fraction(job: PullJob | None) -> float | None:
    if job is None or not job.total_bytes or job.done_bytes is None:
        return None
    return min(1.0, job.done_bytes / job.total_bytes)


def _figures(job: PullJob | None) -> Iterator[str]:
    if job is None:
        return
    if job.total_bytes and job.done_bytes is not None:
        yield f"{size(job.done_bytes)} of {size(job.total_bytes)}"
        if job.bytes_per_s:
            yield speed(job.bytes_per_s)
    else:
        yield PHASES.get(PullState(job.state), "waits for its turn")


def _state(item: PlanItem) -> tuple[str, str]:
    if item.state == ItemState.FAILED:
        return "failed", "bad"
    if item.state != ItemState.READY:
        return item.get_state_display(), "quiet"
    if item.wish == ItemWish.UNLOAD:
        return "unloaded", "quiet"
    if item.verdict == Verdict.AS_PLANNED:
        return "as planned", "good"
    if is_on_call(item):
        return ON_CALL, "quiet"
    return item.get_verdict_display(), "quiet" if item.verdict in FINE else "attention"


def _words(parts: Sequence[ItemView], *, is_applying: bool) -> str:
    served = [each.item for each in parts if each.item.wish == ItemWish.SERVE]
    if is_applying:
        ready = sum(each.item.state == ItemState.READY for each in parts)
        return f"{ready} of {len(parts)} steps done"
    fine = sum(item.verdict == Verdict.AS_PLANNED for item in served)
    called = sum(map(is_on_call, served))
    beside = f", {called} on demand" if called else ""
    return f"{fine} of {len(served)} as planned{beside}"
