"""One model on one server of a node: load it, keep it, unload it, and what came of it."""

from http import HTTPStatus
from urllib.parse import urlencode

from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import loads
from labdash.domain.errors import LabDashError
from labdash.forms import KeepForm, LoadForm
from labdash.models import LoadJob
from labdash.queries.loads import CONTEXTS, ModelPage, read_model
from labdash.templatetags.labdash import short_gpu
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


@require_safe
def model(request: Request, slug: str) -> HttpResponse:
    """Show one model: whether it is in memory, and the forms."""
    return _page(request, _read(request, slug))


@button("node_detail")
def model_load(request: Request, slug: str) -> HttpResponse:
    """Load it."""
    page = _read(request, slug)
    form = _load_form(page, request.POST)
    if not form.is_valid():
        return _invalid(request, page, form)
    try:
        loads.load(
            instance=page.instance,
            model=page.name,
            context=form.cleaned_data["context"],
            keep_s=form.keep_s(),
            main_gpu=form.cleaned_data["main_gpu"],
            user=request.user,
        )
    except LabDashError as error:
        return refused(request, error, default=address(page))
    return done(request, default=address(page))


@button("node_detail")
def model_keep(request: Request, slug: str) -> HttpResponse:
    """Change how long it stays."""
    page = _read(request, slug)
    form = KeepForm(request.POST, prefix="keep")
    if not form.is_valid():
        return _invalid(request, page, form)
    try:
        loads.keep(instance=page.instance, model=page.name, keep_s=form.keep_s(), user=request.user)
    except LabDashError as error:
        return refused(request, error, default=address(page))
    return done(request, default=address(page))


@button("node_detail")
def model_unload(request: Request, slug: str) -> HttpResponse:
    """Free its memory."""
    page = _read(request, slug)
    try:
        loads.unload(instance=page.instance, model=page.name, user=request.user)
    except LabDashError as error:
        return refused(request, error, default=address(page))
    return done(request, default=address(page))


@button("node_detail")
def model_cancel(request: Request, slug: str, pk: int) -> HttpResponse:
    """Give a load up."""
    jobs = LoadJob.objects.select_related("instance__node").filter(instance__node__slug=slug)
    job = get_object_or_404(jobs, pk=pk)
    query = urlencode({"instance": job.instance.name, "model": job.model})
    default = f"{reverse('model', args=[slug])}?{query}"
    try:
        loads.cancel(job=job)
    except LabDashError as error:
        return refused(request, error, default=default)
    return done(request, default=default)


def address(page: ModelPage) -> str:
    """Return where the page of a model is."""
    return f"{reverse('model', args=[page.view.node.slug])}?{_query(page)}"


def _query(page: ModelPage) -> str:
    return urlencode({"instance": page.instance.name, "model": page.name})


def _read(request: Request, slug: str) -> ModelPage:
    """Return the model that the address names."""
    name = request.GET.get("model", "")
    page = read_model(slug, name, request.GET.get("instance"), now=timezone.now())
    if page is None:
        raise Http404(f"There is no {name} on {slug} any more.")
    return page


def _load_form(page: ModelPage, data: QueryDict | None = None) -> LoadForm:
    gpus = [(gpu.index, f"GPU {gpu.index} · {short_gpu(gpu.name)}") for gpu in page.gpus]
    return LoadForm(data, gpus=gpus, most=page.most_context)


def _invalid(request: Request, page: ModelPage, form: KeepForm) -> HttpResponse:
    """Say in one line what is wrong; without HTMX on the page itself."""
    reason = first_error(form)
    if request.htmx:
        return refused(request, LabDashError(reason), default=address(page))
    response = _page(request, page, form)
    response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return response


def _page(request: Request, page: ModelPage, form: KeepForm | None = None) -> HttpResponse:
    most = page.most_context
    contexts = [each for each in CONTEXTS if most is None or each < most]
    is_load = isinstance(form, LoadForm)
    return live_page(
        request,
        "nodes/model.html",
        _fragments(page),
        title=f"{page.name} on {page.view.node.slug} · LabDash",
        lab=page.lab,
        problems=page.problems,
        page=page,
        query=_query(page),
        contexts=[*contexts, *([most] if most else [])],
        load_form=form if is_load else _load_form(page),
        keep_form=KeepForm(prefix="keep") if form is None or is_load else form,
    )


def _fragments(page: ModelPage) -> list[Fragment]:
    template = "nodes/model.html"
    query = _query(page)
    return [
        fragment(f"{template}#state", "state", page=page, query=query),
        fragment(f"{template}#jobs", "jobs", jobs=page.jobs, now=page.lab.now),
    ]
