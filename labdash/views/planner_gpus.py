"""A GPU and its owner: what is kept for him, and the card given back."""

from collections.abc import Callable
from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from labdash.domain import gpus, returning
from labdash.domain.errors import LabDashError
from labdash.forms import GpuOwnerForm
from labdash.models import Gpu
from labdash.queries.lab import read_lab
from labdash.queries.plan_marks import owner_of
from labdash.queries.problems import find_problems
from labdash.views.http import Request, button, done, fragment, live_page, posted, refused
from labdash.wording import GIB

TEMPLATE = "planner/gpu.html"


@require_http_methods(["GET", "HEAD", "POST"])
def gpu_owner(request: Request, pk: int) -> HttpResponse:
    """Show what the plan leaves of a GPU, and store other amounts."""
    gpu = get_object_or_404(Gpu.objects.select_related("node"), pk=pk)
    form = GpuOwnerForm(posted(request), initial=_amounts(gpu))
    if form.is_valid() and _keep(form, gpu):
        messages.success(request, f"Kept for GPU {gpu.index} of {gpu.node.slug}.")
        return redirect("planner")
    lab = read_lab(now=timezone.now())
    state = fragment(f"{TEMPLATE}#state", "state", gpu=gpu, owner=owner_of(gpu))
    response = live_page(
        request,
        TEMPLATE,
        [state],
        title=f"GPU {gpu.index} of {gpu.node.slug} · LabDash",
        lab=lab,
        problems=find_problems(lab),
        gpu=gpu,
        form=form,
    )
    if form.is_bound:
        response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return response


@button("planner")
def gpu_give_back(request: Request, pk: int) -> HttpResponse:
    """Free a GPU for its owner."""
    return _act(request, pk, returning.give_back)


@button("planner")
def gpu_take_back(request: Request, pk: int) -> HttpResponse:
    """Let the plan use a GPU again."""
    return _act(request, pk, returning.take_back)


def _act(request: Request, pk: int, verb: Callable[..., object]) -> HttpResponse:
    gpu = get_object_or_404(Gpu.objects.select_related("node"), pk=pk)
    default = reverse("gpu_owner", args=[pk])
    try:
        verb(gpu=gpu, by=request.user)
    except LabDashError as error:
        return refused(request, error, default=default)
    return done(request, default=default)


def _amounts(gpu: Gpu) -> dict[str, float | None]:
    return {
        name: None if size is None else round(size / GIB, 2)
        for name, size in (
            ("reserve", gpu.reserve_bytes),
            ("margin", gpu.margin_bytes),
            ("game", gpu.game_bytes),
        )
    }


def _keep(form: GpuOwnerForm, gpu: Gpu) -> bool:
    try:
        gpus.keep_for_owner(gpu=gpu, **form.sizes())
    except LabDashError as error:
        form.refuse(error, "reserve")
        return False
    return True
