"""What if: two plans side by side. All that is asked stands in the address."""

from http import HTTPStatus

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.catalog.gpus import known_names
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Lab
from labdash.queries.fit_models import suggestions
from labdash.queries.lab import read_lab
from labdash.queries.loads import CONTEXTS
from labdash.queries.planner_what_if import Asked, changed_lab, in_words, side_by_side
from labdash.queries.problems import find_problems
from labdash.views.http import Request, fragment, live_page
from labdash.views.planning import Shown, plan_now, plan_of
from labdash.what_if_form import WhatIfForm

TEMPLATE = "planner/what_if.html"


@require_safe
def planner_what_if(request: Request) -> HttpResponse:
    """Plan the lab otherwise than it is."""
    lab = read_lab(now=timezone.now())
    # Beside what is asked only the plan of the same lab will do.
    now = plan_now(lab, or_old=False)
    form = _form(request, now.lab)
    asked = form.asked() if form.is_bound and form.is_valid() else Asked()
    then, trouble = _then(now, asked)
    both = side_by_side(now.plan, then.plan) if now.plan and then.plan else None
    quick = "quick" in {now.stage, then.stage}
    answer = fragment(
        f"{TEMPLATE}#answer",
        "answer",
        both=both,
        asked=in_words(asked),
        trouble=trouble,
        quick=quick,
    )
    response = live_page(
        request,
        TEMPLATE,
        [answer],
        title="What if · LabDash",
        lab=lab,
        problems=find_problems(lab),
        form=form,
        gpus=known_names(),
        suggestions=suggestions(),
        contexts=CONTEXTS,
    )
    if form.errors or trouble:
        response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return response


def _form(request: Request, lab: Lab | None) -> WhatIfForm:
    nodes = lab.nodes if lab else ()
    return WhatIfForm(
        request.GET if set(request.GET) & set(WhatIfForm.base_fields) else None,
        nodes=[node.name for node in nodes if not node.away],
        away=[node.name for node in nodes if node.away],
        instances=list(lab.homes) if lab else [],
        deployments=[each.name for each in lab.deployments] if lab else [],
    )


def _then(now: Shown, asked: Asked) -> tuple[Shown, str]:
    """Plan what was asked, or say in one line why that cannot be."""
    if asked.is_empty or now.lab is None:
        return Shown(), ""
    try:
        return plan_of(changed_lab(now.lab, asked)), ""
    except PlannerError as error:
        text = str(error)
        return Shown(), text[:1].upper() + text[1:]
