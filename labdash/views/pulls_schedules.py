"""Schedules of pulls: what each does and when, its runs, and the nights to come."""

from collections.abc import Callable
from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from labdash.domain import schedule_runs, schedules
from labdash.domain.errors import LabDashError
from labdash.models import PullSchedule
from labdash.queries.lab import LabView, read_lab
from labdash.queries.pausing import who_deletes
from labdash.queries.planner_wants import choices
from labdash.queries.problems import find_problems
from labdash.queries.schedules import read_schedule, read_schedules
from labdash.schedule_form import ScheduleForm, initial_of
from labdash.views.http import Request, button, done, fragment, live_page, posted, refused

FORM_METHODS = ["GET", "HEAD", "POST"]
LIST = "pulls/schedules.html"
DETAIL = "pulls/schedule.html"
FORM = "pulls/schedule_form.html"


@require_safe
def schedule_list(request: Request) -> HttpResponse:
    """Show all schedules and the next seven nights."""
    now = timezone.now()
    lab = read_lab(now=now)
    seen = read_schedules(now=now, home_zone=schedules.home_zone())
    parts = [
        fragment(f"{LIST}#schedules", "schedules", views=seen.schedules),
        fragment(f"{LIST}#nights", "nights", nights=seen.nights, zone=seen.zone),
    ]
    title, problems = "Schedules · LabDash", find_problems(lab)
    return live_page(request, LIST, parts, title=title, lab=lab, problems=problems)


@require_safe
def schedule(request: Request, pk: int) -> HttpResponse:
    """Show one schedule with its runs."""
    now = timezone.now()
    row = get_object_or_404(PullSchedule, pk=pk)
    lab = read_lab(now=now)
    seen = read_schedule(row, now=now, home_zone=schedules.home_zone())
    parts = [
        fragment(f"{DETAIL}#state", "state", view=seen.view, risk=_risk(row, lab)),
        fragment(f"{DETAIL}#jobs", "jobs", jobs=seen.jobs, more=seen.more),
        fragment(f"{DETAIL}#runs", "runs", runs=seen.runs),
    ]
    title, problems = f"{row.name} · LabDash", find_problems(lab)
    return live_page(request, DETAIL, parts, title=title, lab=lab, problems=problems, row=row)


@require_http_methods(FORM_METHODS)
def schedule_new(request: Request) -> HttpResponse:
    """Show the form of a new schedule, and store it."""
    told = {name: request.GET[name] for name in ("what", "models") if name in request.GET}
    first = {**ScheduleForm.FIRST, "zone": schedules.home_zone(), **told}
    form = _form(posted(request), first)
    if form.is_valid() and (row := _store(form, lambda: schedules.create(**form.values()))):
        messages.success(request, f"{row.name} is scheduled.")
        return redirect("schedules")
    return _form_page(request, form)


@require_http_methods(FORM_METHODS)
def schedule_edit(request: Request, pk: int) -> HttpResponse:
    """Show what a schedule does, and store other wishes."""
    row = get_object_or_404(PullSchedule, pk=pk)
    form = _form(posted(request), initial_of(row))
    if form.is_valid() and _store(form, lambda: schedules.change(schedule=row, **form.values())):
        return redirect("schedule", pk=row.pk)
    return _form_page(request, form, row)


@button("schedules")
def schedule_delete(request: Request, pk: int) -> HttpResponse:
    """Forget a schedule."""
    row = get_object_or_404(PullSchedule, pk=pk)
    schedules.delete(schedule=row)
    messages.success(request, f"{row.name} is deleted.")
    return redirect("schedules")


@button("schedules")
def schedule_run(request: Request, pk: int) -> HttpResponse:
    """Do now what it does at night."""
    return _act(request, pk, lambda row: schedules.run_now(schedule=row, user=request.user))


@button("schedules")
def schedule_pause(request: Request, pk: int) -> HttpResponse:
    """Begin nothing more."""
    return _act(request, pk, lambda row: schedules.pause(schedule=row))


@button("schedules")
def schedule_resume(request: Request, pk: int) -> HttpResponse:
    """Let it be due again."""
    return _act(request, pk, lambda row: schedules.resume(schedule=row))


@button("schedules")
def schedule_stop(request: Request, pk: int) -> HttpResponse:
    """Stop the run that goes on."""
    return _act(request, pk, _stop)


def _stop(row: PullSchedule) -> None:
    for run in row.runs.running():
        schedule_runs.stop(run=run, now=timezone.now())


def _act(request: Request, pk: int, verb: Callable[[PullSchedule], object]) -> HttpResponse:
    row, default = get_object_or_404(PullSchedule, pk=pk), reverse("schedules")
    try:
        verb(row)
    except LabDashError as error:
        return refused(request, error, default=default)
    return done(request, default=default)


def _risk(row: PullSchedule, lab: LabView) -> str:
    """List the machines on which the end of its window may cost what has come."""
    return "" if row.gives_gpus or row.until is None else who_deletes(row.nodes, lab)


def _form(data: QueryDict | None, initial: dict[str, object]) -> ScheduleForm:
    return ScheduleForm(data, initial=initial, places=choices(None).places)


def _store(form: ScheduleForm, verb: Callable[[], PullSchedule]) -> PullSchedule | None:
    try:
        return verb()
    except LabDashError as error:
        form.refuse(error)
        return None


def _form_page(
    request: Request, form: ScheduleForm, row: PullSchedule | None = None
) -> HttpResponse:
    context = {
        "title": f"{row.name if row else 'Add a schedule'} · LabDash",
        "form": form,
        "row": row,
        "risk": who_deletes((), read_lab(now=timezone.now())),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
    return TemplateResponse(request, FORM, context, status=status)
