"""From a plan to what runs: the difference first, then Apply, Cancel, and the way back."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import applying
from labdash.domain.errors import LabDashError
from labdash.planner.plan import Move, Refusal
from labdash.queries.lab import LabView, read_lab
from labdash.queries.plan_back import view_back
from labdash.queries.plan_in_force import in_force, plan_before
from labdash.queries.plan_json import plan_json
from labdash.queries.planner_page import certainty, headline
from labdash.queries.problems import find_problems
from labdash.views.http import Request, button, done, fragment, live_page, refused
from labdash.views.planning import plan_to_act

PREVIEW = "planner/preview.html"
NOTHING = "Nothing can be placed."
NOT_YET = "There is no plan yet: it is still being made."
NONE_IN_FORCE = "No plan is in force."


@require_safe
def planner_preview(request: Request) -> HttpResponse:
    """Show what applying the plan would change."""
    lab = read_lab(now=timezone.now())
    shown = plan_to_act(lab)
    plan = shown.plan
    trouble = NOT_YET if plan is None else "" if plan.placements else NOTHING
    return _page(
        request,
        lab,
        heading="What applying it changes",
        trouble=trouble,
        summary=f"{headline(plan)} {certainty(plan, shown.stage)}." if plan else "",
        moves=plan.moves if plan else (),
        refusals=plan.refusals if plan else (),
        apply_url="planner_apply",
        apply_label="Apply",
        key=shown.key,
    )


@button("planner_preview")
def planner_apply(request: Request) -> HttpResponse:
    """Put the plan in force that was shown."""
    shown = plan_to_act(read_lab(now=timezone.now()))
    if shown.plan is None or shown.lab is None:
        return refused(request, LabDashError(NOT_YET), default="planner_preview")
    if shown.key != request.GET.get("plan"):
        changed = LabDashError("The lab has changed since: look at the difference again.")
        return refused(request, changed, default="planner_preview")
    try:
        applying.apply(
            plan=shown.plan,
            lab=shown.lab,
            by=request.user,
            content=plan_json(shown.plan),
        )
    except LabDashError as error:
        return refused(request, error, default="planner_preview")
    return _to_planner(request)


@require_safe
def planner_back(request: Request) -> HttpResponse:
    """Show what going back to the plan before would change."""
    lab = read_lab(now=timezone.now())
    before = plan_before()
    told = view_back(before, lab) if before else None
    return _page(
        request,
        lab,
        heading="Back to the plan before",
        trouble="" if told else "There is no plan before this one.",
        summary=told.summary if told else "",
        moves=told.moves if told else (),
        refusals=(),
        apply_url="planner_back_apply",
        apply_label="Go back to it",
        key=str(before.pk) if before else "",
    )


@button("planner_back")
def planner_back_apply(request: Request) -> HttpResponse:
    """Repeat the plan before."""
    try:
        applying.back(by=request.user)
    except LabDashError as error:
        return refused(request, error, default="planner_back")
    return _to_planner(request)


@button("planner")
def planner_cancel(request: Request) -> HttpResponse:
    """Stop what is not done yet."""
    return _with_force(request, applying.cancel)


@button("planner")
def planner_again(request: Request) -> HttpResponse:
    """Try what failed once more."""
    return _with_force(request, applying.resume)


@button("planner")
def planner_let_go(request: Request) -> HttpResponse:
    """Keep nothing up any more."""
    return _with_force(request, applying.let_go)


def _with_force(request: Request, verb: Callable[..., None]) -> HttpResponse:
    plan = in_force()
    if plan is None:
        return refused(request, LabDashError(NONE_IN_FORCE), default="planner")
    try:
        verb(plan=plan)
    except LabDashError as error:
        return refused(request, error, default="planner")
    return done(request, default="planner")


def _to_planner(request: Request) -> HttpResponse:
    if request.htmx:
        return HttpResponse(headers={"HX-Redirect": reverse("planner")})
    return redirect("planner")


def _page(
    request: Request,
    lab: LabView,
    *,
    moves: Sequence[Move],
    refusals: Sequence[Refusal],
    **told: Any,
) -> HttpResponse:
    counts = Counter(_kind(move) for move in moves)
    sums: Counter[str] = Counter()
    for move in moves:
        sums[_kind(move)] += move.bytes
    shown = fragment(
        f"{PREVIEW}#preview",
        "preview",
        moves=moves,
        refusals=refusals,
        counts=counts,
        sums=sums,
        **told,
    )
    return live_page(
        request,
        PREVIEW,
        [shown],
        title="Preview · LabDash",
        lab=lab,
        problems=find_problems(lab),
    )


def _kind(move: Move) -> str:
    return "load" if move.kind == "change" else move.kind
