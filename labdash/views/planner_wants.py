"""What the lab shall serve: each deployment's form, and the buttons that change one."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from labdash.deployment_form import DeploymentForm, initial_of
from labdash.domain import deployments
from labdash.domain.errors import LabDashError
from labdash.models import Deployment
from labdash.planner.telling.apart_ways import BETWEEN
from labdash.planner.telling.words import all_of
from labdash.queries.fit_models import suggestions
from labdash.queries.loads import CONTEXTS
from labdash.queries.planner_wants import choices, read_cloud
from labdash.views.http import Request, button, done, posted, refused

WHOLE = re.compile(r"[0-9]{1,8}")
NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
# What the ways out of a refusal that name no value change of a deployment.
FREED: Mapping[str, deployments.Fields] = {
    "offload": {"offload_allowed": True},
    "where": {"nodes": [], "pin": ""},
    "instance": {"parallel": None, "kv_types": []},
    "kv_type": {"parallel": None, "kv_types": []},
}
FORM_METHODS = ["GET", "HEAD", "POST"]


@require_http_methods(FORM_METHODS)
def deployment_new(request: Request) -> HttpResponse:
    """Show the form of a new deployment, and store it."""
    told = {name: request.GET[name] for name in DeploymentForm.base_fields if name in request.GET}
    form = _form(posted(request), initial={**DeploymentForm.FIRST, **told})
    if form.is_valid() and _create(form):
        return redirect("planner")
    return _page(request, form)


@require_http_methods(FORM_METHODS)
def deployment_edit(request: Request, pk: int) -> HttpResponse:
    """Show what is wanted of one model, and store other wishes."""
    row = get_object_or_404(Deployment, pk=pk)
    form = _form(posted(request), initial=initial_of(row), row=row)
    if form.is_valid() and _change(form, row):
        return redirect("planner")
    return _page(request, form, row)


@require_safe
def deployment_named(request: Request) -> HttpResponse:
    """Lead to the form of a deployment that a plan names."""
    row = get_object_or_404(Deployment, name=request.GET.get("name", ""))
    return redirect("deployment_edit", row.pk)


@button("planner")
def deployment_delete(request: Request, pk: int) -> HttpResponse:
    """Forget a deployment."""
    row = get_object_or_404(Deployment, pk=pk)
    deployments.delete(deployment=row)
    messages.success(request, f"{row.name} is no longer asked for.")
    return redirect("planner")


@button("planner")
def deployment_change(request: Request, pk: int) -> HttpResponse:
    """Take a way out that a refusal offers."""
    row = get_object_or_404(Deployment, pk=pk)
    try:
        if request.GET.get("kind") == "apart":
            others = request.GET.get("value", "").split(BETWEEN)
            deployments.let_share(deployment=row, names=others)
        else:
            deployments.change(deployment=row, **_way_out(request.GET))
    except LabDashError as error:
        return refused(request, error, default="planner")
    return done(request, default="planner")


@button("planner")
def planner_adopt(request: Request) -> HttpResponse:
    """Ask for what is there now."""
    made, cloud = deployments.adopt_present(installed=True, now=timezone.now()), read_cloud()
    left_out = f" Left out, in Ollama's cloud: {all_of(cloud)}." if cloud else ""
    if not made:
        none = f"Nothing that LabDash could plan is installed or loaded now.{left_out}"
        return refused(request, LabDashError(none), default="planner")
    told = f"{len(made)} made of what is installed and loaded.{left_out}"
    return done(request, told, default="planner")


def _way_out(asked: QueryDict) -> deployments.Fields:
    """Return what a way out changes. Raises ``LabDashError`` where it is none."""
    kind, value, ctx = (asked.get(name, "") for name in ("kind", "value", "ctx"))
    if kind in FREED:
        return FREED[kind]
    if kind == "quant" and value and WHOLE.fullmatch(ctx or "0"):
        beside: deployments.Fields = {"ctx_floor": int(ctx)} if ctx else {}
        return {"quant_floor": value, **beside}
    if kind == "ctx" and WHOLE.fullmatch(value):
        return {"ctx_floor": int(value)}
    if kind == "speed" and NUMBER.fullmatch(value or "0"):
        # A least speed of nothing is none.
        return {"min_tokens_per_s": float(value or 0) or None}
    raise LabDashError("There is no such way out.")


def _form(
    data: QueryDict | None, *, initial: Mapping[str, object], row: Deployment | None = None
) -> DeploymentForm:
    offered = choices(row)
    return DeploymentForm(
        data,
        initial=dict(initial),
        places=offered.places,
        devices=offered.devices,
        others=offered.others,
    )


def _create(form: DeploymentForm) -> Deployment | None:
    try:
        return deployments.create(**form.values())
    except LabDashError as error:
        form.refuse(error)
        return None


def _change(form: DeploymentForm, row: Deployment) -> Deployment | None:
    values = form.values()
    values["name"] = values["name"] or row.name
    try:
        return deployments.change(deployment=row, **values)
    except LabDashError as error:
        form.refuse(error)
        return None


def _page(request: Request, form: DeploymentForm, row: Deployment | None = None) -> HttpResponse:
    context = {
        "title": f"{row.name if row else 'Add a deployment'} · LabDash",
        "form": form,
        "row": row,
        "suggestions": suggestions(),
        "contexts": CONTEXTS,
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
    return TemplateResponse(request, "planner/deployment.html", context, status=status)
