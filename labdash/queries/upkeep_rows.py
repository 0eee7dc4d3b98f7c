"""The plan in force with all that tells of its state, as rows."""

from dataclasses import dataclass

from labdash.models import (
    ItemWish,
    LoadJob,
    LoadState,
    LoadWish,
    Plan,
    PlanItem,
    PullJob,
)


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """The plan in force. ``hand`` are jobs by hand since then or since the last resumption.

    ``loading`` and ``pulling`` are the keys of instances on which such a job is under way.
    """

    plan: Plan
    items: tuple[PlanItem, ...]
    hand: tuple[LoadJob, ...] = ()
    loading: frozenset[int] = frozenset()
    pulling: frozenset[int] = frozenset()

    @property
    def served(self) -> tuple[PlanItem, ...]:
        """What the plan serves."""
        return tuple(item for item in self.items if item.wish == ItemWish.SERVE)


def read_upkeep() -> Upkeep | None:
    """Read the plan in force with all that tells of its state, nothing where there is none."""
    # Read at each tick and for each page: without what is long.
    plans = Plan.objects.in_force().defer("content", "instead_of__content")
    plan = plans.select_related("instead_of").first()
    if plan is None:
        return None
    rows = plan.items.select_related("instance__node", "load_job", "pull_job")
    items = rows.defer("instance__node__last_sample")
    jobs = LoadJob.objects.select_related("instance")
    since = plan.resumed_at or plan.created_at
    hand = jobs.filter(by_plan=False, created_at__gt=since).exclude(wish=LoadWish.KEEP)
    active = LoadJob.objects.active().values_list("instance_id", flat=True)
    pulls = PullJob.objects.active().filter(sent_at__isnull=False)
    return Upkeep(
        plan=plan,
        items=tuple(items),
        hand=tuple(hand.exclude(state=LoadState.CANCELLED)),
        loading=frozenset(active),
        pulling=frozenset(pulls.values_list("instance_id", flat=True)),
    )
