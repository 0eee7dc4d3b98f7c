"""The planner: what the lab shall serve, where each goes, and how what is in force does."""

from collections.abc import Sequence
from datetime import datetime

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.models import Deployment
from labdash.queries.lab import read_lab
from labdash.queries.plan_in_force import ForceView, force_of, plan_before
from labdash.queries.planner_page import PlanView, Seen, read_seen, view_plan, wishes_alone
from labdash.queries.planner_wants import count_present
from labdash.queries.predictions import read_errors
from labdash.queries.problems import find_problems
from labdash.views.http import Fragment, Request, fragment, live_page
from labdash.views.planning import Shown, plan_now

TEMPLATE = "planner/page.html"


@require_safe
def planner(request: Request) -> HttpResponse:
    """Show the plan for the lab as it is: a quick one first, the best when it is found."""
    lab = read_lab(now=timezone.now())
    wanted = list(Deployment.objects.all())
    shown = plan_now(lab, wanted=wanted) if wanted else Shown()
    seen, force = read_seen(lab), force_of(lab.upkeep)
    view = (
        view_plan(shown.plan, shown.lab, wanted, seen, stage=shown.stage)
        if shown.plan and shown.lab
        else None
    )
    return live_page(
        request,
        TEMPLATE,
        [*_of_plan(view, wanted, force, seen), *_of_force(force, lab.now)],
        title="Planner · LabDash",
        lab=lab,
        problems=find_problems(lab),
    )


def _of_plan(
    view: PlanView | None,
    wanted: Sequence[Deployment],
    force: ForceView,
    seen: Seen,
) -> list[Fragment]:
    deployments = view.deployments if view else wishes_alone(wanted, seen.library)
    lead = fragment(
        f"{TEMPLATE}#lead",
        "lead",
        view=view,
        asked=bool(wanted),
        force=force,
        before=plan_before(),
    )
    return [
        lead,
        fragment(f"{TEMPLATE}#warnings", "warnings", view=view),
        fragment(
            f"{TEMPLATE}#wanted",
            "wanted",
            deployments=deployments,
            present=0 if wanted else count_present(),
        ),
        fragment(
            f"{TEMPLATE}#bars",
            "bars",
            nodes=view.nodes if view else (),
            marked=bool(seen.items),
        ),
        fragment(
            f"{TEMPLATE}#proposals", "proposals", proposals=view.plan.proposals if view else ()
        ),
    ]


def _of_force(force: ForceView, now: datetime) -> list[Fragment]:
    return [
        fragment(f"{TEMPLATE}#force", "force", force=force, now=now),
        fragment(f"{TEMPLATE}#past", "past", past=read_errors()),
    ]
