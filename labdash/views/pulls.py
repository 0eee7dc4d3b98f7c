"""Pull jobs: what runs, what waits, what was; and the buttons that start and stop them."""

from collections.abc import Callable, Iterable

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain.errors import LabDashError
from labdash.domain.pulls import (
    cancel_pull,
    pause_pull,
    request_pull,
    resume_pull,
    retry_pull,
)
from labdash.domain.queueing import move_pull
from labdash.forms import PullForm
from labdash.models import PullJob
from labdash.queries.lab import LabView, read_lab
from labdash.queries.problems import find_problems
from labdash.queries.pulls import PullsView, pull_targets, read_pulls
from labdash.views.http import (
    Fragment,
    Request,
    button,
    done,
    first_error,
    fragment,
    live_page,
    refused,
)

FORM_ID = "pull-form"


@require_safe
def pulls(request: Request) -> HttpResponse:
    """Show all jobs and the form for a new one."""
    return _page(request, PullForm(initial={"model": request.GET.get("model", "")}))


@button("pulls")
def pull_new(request: Request) -> HttpResponse:
    """Queue a model for one or more instances: a form tells which, or the address of a button."""
    form = PullForm(request.GET if "model" in request.GET else request.POST)
    if form.is_valid() and _request(request, form):
        return _started(request)
    if request.htmx.target == FORM_ID:
        return TemplateResponse(request, "pulls.html#form", _form_context(form), status=422)
    if request.htmx:
        reason = first_error(form)
        return refused(request, LabDashError(reason), default="pulls")
    response = _page(request, form)
    response.status_code = 422
    return response


@button("pulls")
def pull_cancel(request: Request, pk: int) -> HttpResponse:
    """Stop a job."""
    cancel_pull(job=_job(pk))
    return done(request, default="pulls")


@button("pulls")
def pull_retry(request: Request, pk: int) -> HttpResponse:
    """Ask again for a job that failed."""
    job = _job(pk)
    try:
        retry_pull(job=job, user=request.user)
    except LabDashError as error:
        return refused(request, error, default="pulls")
    return done(request, default="pulls")


@button("pulls")
def pull_pause(request: Request, pk: int) -> HttpResponse:
    """Hold a job until somebody lets it go on."""
    return _act(request, pk, pause_pull)


@button("pulls")
def pull_resume(request: Request, pk: int) -> HttpResponse:
    """Let a job go on now, whatever kept it."""
    return _act(request, pk, resume_pull)


@button("pulls")
def pull_move(request: Request, pk: int) -> HttpResponse:
    """Put a waiting job at the place ``to`` of its queue, 0 being the first, and say which it has.

    It comes by the address, from buttons and from what is dragged.
    """
    job, to = _job(pk), request.GET.get("to", "")
    try:
        place = move_pull(job=job, to=int(to[:9]) if to.isdecimal() else 0)
    except LabDashError as error:
        return refused(request, error, default="pulls")
    return done(request, f"{job.model} is number {place + 1} of its queue.", default="pulls")


def fragments(seen: PullsView, lab: LabView) -> list[Fragment]:
    """Render all that may change while the page is open."""
    return [
        fragment("pulls.html#running", "running", jobs=seen.running),
        fragment("pulls.html#queued", "queued", queues=seen.queues),
        fragment("pulls.html#ended", "ended", jobs=seen.ended, now=lab.now),
    ]


def _job(pk: int) -> PullJob:
    return get_object_or_404(PullJob.objects.select_related("instance__node"), pk=pk)


def _act(request: Request, pk: int, verb: Callable[..., None]) -> HttpResponse:
    try:
        verb(job=_job(pk))
    except LabDashError as error:
        return refused(request, error, default="pulls")
    return done(request, default="pulls")


def _page(request: Request, form: PullForm) -> HttpResponse:
    lab = read_lab(now=timezone.now())
    seen = read_pulls(lab)
    return live_page(
        request,
        "pulls.html",
        fragments(seen, lab),
        title="Pulls · LabDash",
        lab=lab,
        problems=find_problems(lab),
        **_form_context(form, seen.instances),
    )


def _form_context(form: PullForm, instances: Iterable[object] | None = None) -> dict[str, object]:
    chosen = form["instances"].value() or []
    return {
        "form": form,
        "instances": pull_targets() if instances is None else instances,
        "chosen": {str(each) for each in chosen},
    }


def _request(request: Request, form: PullForm) -> bool:
    try:
        for instance in form.cleaned_data["instances"]:
            request_pull(instance=instance, model=form.cleaned_data["model"], user=request.user)
    except LabDashError as error:
        form.refuse(error, "model")
        return False
    return True


def _started(request: Request) -> HttpResponse:
    """Answer at once: the form is empty again, and the page asks for the job's progress."""
    if request.htmx.target != FORM_ID:
        return done(request, default="pulls")
    return TemplateResponse(
        request, "pulls.html#form", _form_context(PullForm()), headers={"HX-Trigger": "tick"}
    )
