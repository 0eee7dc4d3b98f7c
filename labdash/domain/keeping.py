"""Bring residents of the plan in force back, as ``planner.keeping`` allows it: one at a time."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from labdash.domain import loads
from labdash.domain.applying import fresh
from labdash.domain.errors import LabDashError
from labdash.models import ItemState, LoadWish, PlanItem, Verdict
from labdash.planner.keeping import Kept, Mend, next_mend
from labdash.queries.lab import NodeView
from labdash.queries.upkeep import Upkeep, mends_of, places

log = logging.getLogger(__name__)


def keep_up(upkeep: Upkeep, views: Iterable[NodeView], *, now: datetime) -> int:
    """Begin the mends that are due, at most one on each node; return how many."""
    rows = {item.pk: item for item in upkeep.items}
    begun = 0
    for place in places(upkeep, views, now=now).values():
        mend = next_mend(place)
        if mend is not None:
            begun += _begin(mend, rows, now=now)
    return begun


def _begin(mend: Mend, rows: dict[int, PlanItem], *, now: datetime) -> bool:
    """Let the plan load a model anew, after those that have to leave for it."""
    if not _again(mend.kept, rows, now=now, **_waiting(mend.kept)):
        return False
    for kept in mend.later:
        _leave(kept, rows, now=now)
    names = ", ".join(kept.name for kept in mend.all)
    log.info("brought back item=%d models=%s", mend.kept.id, names)
    return True


def _waiting(kept: Kept) -> dict[str, Any]:
    gone = "It had left the memory" if kept.standing == "gone" else "It lay elsewhere than planned"
    return {"state": ItemState.WAITING, "reason": f"{gone}: it is brought back."}


def _leave(kept: Kept, rows: dict[int, PlanItem], *, now: datetime) -> None:
    item = rows[kept.id]
    try:
        job = loads.for_plan(instance=item.instance, model=item.served_name, wish=LoadWish.UNLOAD)
    except LabDashError as error:
        log.warning("does not make room item=%d: %s", item.pk, error)
        return
    reason = "It makes room for a model that has to be loaded before it."
    _again(kept, rows, now=now, state=ItemState.UNLOADING, load_job=job, reason=reason)


def _again(kept: Kept, rows: dict[int, PlanItem], *, now: datetime, **changes: Any) -> bool:
    """Count a mend and open the item anew, unless it was changed since it was read."""
    item = rows[kept.id]
    mends = mends_of(item, now=now)
    counted = {"mended": mends + 1, "mended_at": item.mended_at if mends else now}
    unchanged = PlanItem.objects.filter(
        pk=item.pk, state=ItemState.READY, mended=item.mended, verdict=item.verdict
    )
    unseen = {"verdict": Verdict.UNCHECKED, "verdict_text": "", "verdict_since": now}
    values = {**fresh(), **unseen, "cleared": False, **counted, **changes}
    return bool(unchanged.update(**values))
