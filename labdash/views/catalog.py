"""The catalog: which models there are, what they can do, and which of them this lab can serve."""

from http import HTTPStatus

from django.http import Http404, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.catalog_form import CatalogForm
from labdash.queries.catalog import read_catalog, read_family
from labdash.queries.own_catalog import entries_trouble
from labdash.views.http import Request

TARGET = "families"
# A page shows what it has, and asks again for the rest.
PATIENCE_S = 0.8


@require_safe
def catalog(request: Request) -> HttpResponse:
    """Show the families that the filters leave. All that was chosen stands in the address."""
    form = CatalogForm(request.GET)
    error = "" if form.is_valid() else str(next(iter(form.errors.values()))[0])
    context = {
        "title": "Catalog · LabDash",
        "form": form,
        "seen": None
        if error
        else read_catalog(form.filters(), now=timezone.now(), patience_s=PATIENCE_S),
        "error": error,
        "trouble": entries_trouble(),
        "again": f"{request.path}?{request.GET.urlencode()}",
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    part = "#update" if request.htmx.target == TARGET else ""
    return TemplateResponse(request, f"catalog/list.html{part}", context, status=status)


@require_safe
def catalog_family(request: Request, name: str) -> HttpResponse:
    """Show one family: its models, their files, and what becomes of each here."""
    family = read_family(name, now=timezone.now())
    if family is None:
        raise Http404
    context = {"title": f"{family.name} · Catalog · LabDash", "family": family}
    return TemplateResponse(request, "catalog/family.html", context)
