"""Storage: what lies on which disk, what deleting frees, and the buttons that make room."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import moving, naming, tidying
from labdash.domain.errors import LabDashError
from labdash.models import InstalledModel, Instance, Move, NameJob
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from labdash.queries.storage_page import NameView, StorageView, read_name, read_storage
from labdash.storage_form import MoveForm, TargetForm
from labdash.views.http import (
    Fragment,
    Request,
    button,
    done,
    fragment,
    is_poll,
    live_page,
    refused,
)


@require_safe
def pull_storage(request: Request) -> HttpResponse:
    """Show all disks."""
    lab = read_lab(now=timezone.now())
    seen = read_storage(lab)
    return live_page(
        request,
        "pulls/storage.html",
        fragments(seen),
        title="Storage · LabDash",
        lab=lab,
        problems=find_problems(lab),
    )


def fragments(seen: StorageView) -> list[Fragment]:
    """Render all that may change while the page is open."""
    now = timezone.now()
    return [
        fragment("pulls/storage.html#proposals", "proposals", seen=seen),
        fragment("pulls/storage.html#doing", "doing", jobs=seen.doing),
        fragment("pulls/storage.html#servers", "servers", seen=seen, now=now),
        fragment("pulls/storage.html#done", "done", jobs=seen.done, now=now),
    ]


@require_safe
def storage_name(request: Request, pk: int) -> HttpResponse:
    """Show one name with what can be done about it."""
    installed = _named(pk)
    if installed is None:
        return _gone(request)
    return _name_page(request, installed)


@button("pull_storage")
def storage_copy(request: Request, pk: int) -> HttpResponse:
    """Give it a second name."""
    return _renamed(request, pk, naming.copy)


@button("pull_storage")
def storage_rename(request: Request, pk: int) -> HttpResponse:
    """Give it another name."""
    return _renamed(request, pk, tidying.rename)


@button("pull_storage")
def storage_move(request: Request, pk: int) -> HttpResponse:
    """Let it go to another machine."""
    installed = _named(pk)
    if installed is None:
        return _gone(request)
    form = MoveForm(request.POST, targets=Instance.objects.exclude(pk=installed.instance_id))
    if not form.is_valid():
        return _refused(request, LabDashError(form.errors["target"][0]), pk)
    target = form.cleaned_data["target"]
    return _act(
        request, pk, lambda row: moving.move(installed=row, target=target, user=request.user)
    )


@button("pull_storage")
def storage_delete(request: Request, pk: int) -> HttpResponse:
    """Delete one name."""
    return _act(request, pk, lambda row: tidying.delete(installed=row, user=request.user))


@button("pull_storage")
def storage_proposed(request: Request, pk: int) -> HttpResponse:
    """Delete all names of a proposal."""
    return _act(request, pk, lambda row: tidying.delete_proposed(installed=row, user=request.user))


@button("pull_storage")
def storage_clear(request: Request, pk: int) -> HttpResponse:
    """Delete the unfinished downloads of a server."""
    instance = get_object_or_404(Instance.objects.select_related("node"), pk=pk)
    try:
        naming.clear(instance=instance, user=request.user)
    except LabDashError as error:
        return refused(request, error, default="pull_storage")
    return done(request, default="pull_storage")


@button("pull_storage")
def storage_cancel(request: Request, pk: int) -> HttpResponse:
    """Give an order about a name up."""
    job = get_object_or_404(NameJob.objects.select_related("instance__node"), pk=pk)
    try:
        naming.cancel(job=job)
    except LabDashError as error:
        return refused(request, error, default="pull_storage")
    return done(request, default="pull_storage")


@button("pull_storage")
def storage_move_cancel(request: Request, pk: int) -> HttpResponse:
    """Give a move up."""
    rows = Move.objects.select_related("target__node", "pull_job", "name_job__instance__node")
    try:
        moving.cancel(job=get_object_or_404(rows, pk=pk))
    except LabDashError as error:
        return refused(request, error, default="pull_storage")
    return done(request, default="pull_storage")


def _renamed(request: Request, pk: int, act: Callable[..., NameJob]) -> HttpResponse:
    form = TargetForm(request.POST)
    if not form.is_valid():
        return _refused(request, LabDashError(form.errors["target"][0]), pk)
    target = form.cleaned_data["target"]
    return _act(request, pk, lambda row: act(installed=row, target=target, user=request.user))


def _act(request: Request, pk: int, act: Callable[[InstalledModel], object]) -> HttpResponse:
    """Do something to a name, if it is still there."""
    installed = _named(pk)
    if installed is None:
        return _gone(request)
    try:
        act(installed)
    except LabDashError as error:
        return _refused(request, error, pk)
    return done(request, default="pull_storage")


def _named(pk: int) -> InstalledModel | None:
    rows = InstalledModel.objects.filter(is_cloud=False)
    return rows.select_related("instance__node", "variant").filter(pk=pk).first()


def _gone(request: Request) -> HttpResponse:
    """Say that a name is gone: its page was open, or two people were at it."""
    text = "That model is not there any more: it was deleted or renamed in the meantime."
    if is_poll(request):
        return HttpResponse(headers={"HX-Redirect": reverse("pull_storage")})
    if request.htmx:
        return refused(request, LabDashError(text), default="pull_storage")
    messages.info(request, text)
    return redirect("pull_storage")


def _refused(request: Request, error: LabDashError, pk: int) -> HttpResponse:
    return refused(request, error, default=reverse("storage_name", args=[pk]))


def _name_page(request: Request, installed: InstalledModel) -> HttpResponse:
    lab = read_lab(now=timezone.now())
    page = read_name(lab, installed)
    if page is None:
        return _gone(request)
    targets = [each.instance for each in page.targets]
    return live_page(
        request,
        "pulls/storage_name.html",
        [_state(page)],
        title=f"{page.row.name} · Storage · LabDash",
        lab=lab,
        problems=find_problems(lab),
        page=page,
        target_form=TargetForm(),
        move_form=MoveForm(targets=targets) if targets else None,
    )


def _state(page: NameView) -> Fragment:
    return fragment("pulls/storage_name.html#state", "state", page=page)
