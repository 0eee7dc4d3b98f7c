"""The plan that pages show: a quick one at once, the best when its search is over."""

from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from functools import lru_cache

from labdash.domain import planning
from labdash.models import Deployment
from labdash.planner.calm import calm
from labdash.planner.explain import explained
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.staying import Stay
from labdash.queries.lab import LabView
from labdash.queries.plan_in_force import read_stays
from labdash.queries.planner_page import Stage
from labdash.queries.snapshot import snapshot
from labdash.queries.variants import smaller

type Stays = Mapping[str, Stay]

# Quick plans that are kept while their search goes on.
MOST_QUICK = 8
# A page that is looked at asks again after a second; one that needs a plan waits for it.
GLANCE_S = 0.25
WAIT_S = 60.0

_planners = ThreadPoolExecutor(max_workers=2, thread_name_prefix="quick-plan")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A plan with the lab that it is for, None while it is made.

    ``key`` names it to the next request.
    """

    lab: Lab | None = None
    plan: Plan | None = None
    stage: Stage = "quick"
    key: str = ""


def plan_now(
    view: LabView,
    *,
    wanted: Iterable[Deployment] | None = None,
    wait_s: float = GLANCE_S,
    or_old: bool = True,
) -> Shown:
    """Plan the lab as it is. What the plan in force has stays where moving it gains little.

    ``wanted`` are all deployments, where they were read already. ``or_old``: until there is a
    plan, that of before will do.
    """
    shown = plan_of(snapshot(view, wanted=wanted), wait_s=wait_s)
    if shown.lab is None or shown.plan is None:
        return _last[-1] if or_old and _last and _is_alike(_last[-1], shown) else shown
    stays = read_stays()
    kept = _keep(shown.lab, shown.plan, stays) if stays else None
    if kept is not None:
        shown = replace(shown, plan=kept, key=f"{shown.key}-kept")
    _last.append(replace(shown, stage="old", key=""))
    return shown


def plan_to_act(view: LabView) -> Shown:
    """Plan the lab as it is, and wait for it: what is done must be of no lab of before."""
    return plan_now(view, wait_s=WAIT_S, or_old=False)


def plan_of(lab: Lab, *, wait_s: float = GLANCE_S) -> Shown:
    """Return the best plan of a lab if it is found, else a quick one; the search goes on."""
    job = planning.find(planning.start(lab))
    if job is None:
        return Shown(lab=lab)
    if job.plan is not None:
        return Shown(lab=job.lab, plan=job.plan, stage="exact", key=f"{job.key}-exact")
    stage: Stage = "ended" if job.trouble else "quick"
    try:
        plan = _quick(job.lab).result(timeout=wait_s)
    except NotYet:
        return Shown(lab=job.lab, key=job.key)
    return Shown(lab=job.lab, plan=plan, stage=stage, key=f"{job.key}-quick")


@lru_cache(maxsize=MOST_QUICK)
def _quick(lab: Lab) -> Future[Plan]:
    """Begin to plan a lab; one lab is one object while its search goes on."""
    return _planners.submit(planning.quick, lab)


def _is_alike(old: Shown, new: Shown) -> bool:
    """Whether an old plan may stand until the new one is there: it is of the same machines."""
    labs = [each.lab.nodes if each.lab else () for each in (old, new)]
    names = [[node.name for node in nodes] for nodes in labs]
    return names[0] == names[1]


# The plan that was shown last, until a new one is made.
_last: deque[Shown] = deque(maxlen=1)
_kept: deque[tuple[Plan, Stays, Plan | None]] = deque(maxlen=MOST_QUICK)


def _keep(lab: Lab, best: Plan, stays: Stays) -> Plan | None:
    """Plan around what stays, once for each plan that is the best."""
    for known, those, answer in tuple(_kept):
        if known is best and those == stays:
            return answer
    plan = calm(lab, stays, best)
    told = plan and explained(lab, plan, smaller=smaller)
    _kept.append((best, stays, told))
    return told
