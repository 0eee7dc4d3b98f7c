"""What keeping a plan up follows from: its items, what is seen of them, and what people did."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from labdash.models import (
    ITEM_OVER,
    Gpu,
    ItemState,
    ItemWish,
    LoadJob,
    LoadState,
    LoadWish,
    PlanItem,
    Residency,
    Verdict,
)
from labdash.planner.keeping import Kept, Place, Standing, Stranger
from labdash.queries.lab import NodeView
from labdash.queries.library import plain_name
from labdash.queries.memory_now import (
    InMemory,
    devices_of,
    free_bytes,
    models_on,
    others_on,
)
from labdash.queries.upkeep_rows import Upkeep, read_upkeep
from labdash.wording import lasted

__all__ = ["Upkeep", "in_memory", "is_kept", "mends_of", "owner_text", "places", "read_upkeep"]

# So long after a load or unload by hand nothing is changed on that server.
HAND_S = 900.0
HOUR = timedelta(hours=1)
_STANDINGS: Mapping[str, Standing] = {
    Verdict.AS_PLANNED: "well",
    Verdict.MORE: "well",
    Verdict.EVICTED: "gone",
    Verdict.NOT_LOADED: "gone",
    Verdict.SPILLED: "amiss",
    Verdict.WRONG_GPU: "amiss",
}


def places(upkeep: Upkeep, views: Iterable[NodeView], *, now: datetime) -> dict[int, Place]:
    """Return the facts of each node that the plan uses, by the node's key."""
    groups: defaultdict[int, list[PlanItem]] = defaultdict(list)
    for item in upkeep.items:
        groups[item.instance.node_id].append(item)
    return {
        view.node.pk: _place(upkeep, groups[view.node.pk], view, now=now)
        for view in views
        if view.node.pk in groups
    }


def in_memory(item: PlanItem, view: NodeView, served: Iterable[PlanItem] = ()) -> InMemory | None:
    """Find the model of an item by its name, or by those of items of the same runner."""
    group = item.shares or item.deployment_name
    names = {plain_name(item.served_name).lower()}
    names |= {
        plain_name(other.served_name).lower()
        for other in served
        if group
        and other.instance_id == item.instance_id
        and group in {other.shares, other.deployment_name}
    }
    models = models_on(view, item.instance.name) or ()
    return next((each for each in models if plain_name(each.name).lower() in names), None)


def is_kept(item: PlanItem) -> bool:
    """Whether a model has to stay in memory."""
    return (
        item.wish == ItemWish.SERVE
        and item.state == ItemState.READY
        and item.residency == Residency.RESIDENT
        and not item.shares
    )


def owner_text(gpu: Gpu, slug: str) -> str:
    """Say that nothing is loaded on a card because its owner has it."""
    what = "is given back to its owner" if gpu.given_back else "is used by another program"
    return f"{slug}/{gpu.index} {what}."


def _place(upkeep: Upkeep, items: list[PlanItem], view: NodeView, *, now: datetime) -> Place:
    slug = view.node.slug
    closed = [gpu for gpu in view.node.gpus.all() if gpu.is_returned]
    return Place(
        node=slug,
        kept=tuple(_kept(item, upkeep, view, now=now) for item in items if is_kept(item)),
        strangers=tuple(_strangers(items, view)),
        free=free_bytes(view),
        others=others_on(view),
        away=_away(view),
        closed={f"{slug}/{gpu.index}": owner_text(gpu, slug) for gpu in closed},
        busy=dict(_busy(upkeep, items)),
    )


def _kept(item: PlanItem, upkeep: Upkeep, view: NodeView, *, now: datetime) -> Kept:
    found = in_memory(item, view, upkeep.served)
    on_cpu = any(device.endswith("/cpu") and count for device, count in item.layers.items())
    job = item.load_job
    return Kept(
        id=item.pk,
        name=item.deployment_name,
        instance=item.instance.name,
        order=item.load_order,
        standing=_STANDINGS.get(item.verdict, "unknown"),
        for_s=_age_s(item.verdict_since, now) or 0.0,
        gpu_bytes={device: item.bytes[device] for device in devices_of(item.bytes)},
        holds=(found.held or {}) if found else {},
        margin_bytes=item.margin_bytes or 0,
        predicted_bytes=None if on_cpu else item.predicted_bytes,
        mends=mends_of(item, now=now),
        mend_age_s=_age_s(job.created_at, now) if job else None,
        hand=_hand(item, upkeep.hand, now=now),
    )


def mends_of(item: PlanItem, *, now: datetime) -> int:
    """Count how often a model was brought back within the hour that is running."""
    is_running = item.mended_at is not None and now - item.mended_at < HOUR
    return item.mended if is_running else 0


def _hand(item: PlanItem, jobs: Iterable[LoadJob], *, now: datetime) -> str:
    """Say what somebody did: unloading the model itself counts until they say otherwise."""
    name = plain_name(item.served_name).lower()
    here = [job for job in jobs if job.instance_id == item.instance_id]
    own = [job for job in here if plain_name(job.model).lower() == name]
    if own and own[0].wish == LoadWish.UNLOAD and own[0].state != LoadState.FAILED:
        return f"It was unloaded by hand {_ago(own[0], now)}."
    recent = [job for job in here if (now - job.created_at).total_seconds() < HAND_S]
    if not recent:
        return ""
    done = "unloaded" if recent[0].wish == LoadWish.UNLOAD else "loaded"
    return f"{recent[0].model} was {done} by hand {_ago(recent[0], now)}."


def _ago(job: LoadJob, now: datetime) -> str:
    return f"{lasted(max(0.0, (now - job.created_at).total_seconds()))} ago"


def _strangers(items: list[PlanItem], view: NodeView) -> Iterator[Stranger]:
    served = {
        (item.instance.name, plain_name(item.served_name).lower())
        for item in items
        if item.wish == ItemWish.SERVE
    }
    weights: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for item in items:
        weights[item.instance.name, plain_name(item.model).lower()].add(item.pk)
    for instance in view.node.instances.all():
        for model in models_on(view, instance.name) or ():
            key = (instance.name, plain_name(model.name).lower())
            if key not in served:
                yield Stranger(
                    name=model.name,
                    instance=instance.name,
                    devices=model.devices or frozenset(),
                    takes=frozenset(weights.get(key, ())),
                )


def _away(view: NodeView) -> str:
    slug = view.node.slug
    if view.node.paused:
        return f"{slug} is paused."
    if view.liveness in {"silent", "never"}:
        return f"{slug} does not report."
    return ""


def _busy(upkeep: Upkeep, items: list[PlanItem]) -> Iterator[tuple[str, str]]:
    """Yield what is under way on the servers of a node; a plan holds up all of them."""
    is_open = any(item.state not in ITEM_OVER for item in items)
    for instance in {item.instance for item in items}:
        if is_open:
            yield instance.name, "The plan is being carried out there."
        elif instance.pk in upkeep.loading:
            yield instance.name, "A model is being loaded there."
        elif instance.pk in upkeep.pulling:
            yield instance.name, "A download runs there."


def _age_s(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())
