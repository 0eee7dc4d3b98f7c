"""The catalog: which models there are, what they can do, and which of them this lab can serve."""

from http import HTTPStatus

from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.catalog.entries import check_entry
from labdash.catalog.models import CatalogModel
from labdash.catalog_form import CatalogForm, ChangeForm, EntryForm, SourceForm
from labdash.domain.catalog import change_entry, import_entries, remove_entry
from labdash.domain.errors import LabDashError
from labdash.planner.errors import PlannerError
from labdash.queries.catalog import find_named, read_catalog, read_family
from labdash.queries.catalog_fits import CONTEXT
from labdash.queries.catalog_making import File, draft_of, entry_of, file_at, file_of_facts
from labdash.queries.own_catalog import entries_trouble
from labdash.views.http import Request, button, first_error, sentence

TARGET = "families"
# A page shows what it has, and asks again for the rest.
PATIENCE_S = 0.8
# A family is asked for once, without asking again: the largest shipped one takes less, cold.
FAMILY_PATIENCE_S = 8.0


@require_safe
def catalog(request: Request) -> HttpResponse:
    """Show the families that the filters leave. All that was chosen stands in the address."""
    form = CatalogForm(request.GET)
    error = "" if form.is_valid() else first_error(form)
    context = {
        "title": "Catalog · LabDash",
        "form": form,
        "seen": None
        if error
        else read_catalog(form.filters(), now=timezone.now(), patience_s=PATIENCE_S),
        "error": error,
        "context": CONTEXT,
        "trouble": entries_trouble(),
        "again": f"{request.path}?{request.GET.urlencode()}",
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    part = "#update" if request.htmx.target == TARGET else ""
    return TemplateResponse(request, f"catalog/list.html{part}", context, status=status)


@require_safe
def catalog_family(request: Request, name: str) -> HttpResponse:
    """Show one family: its models, their files, and what becomes of each here."""
    family = read_family(name, now=timezone.now(), patience_s=FAMILY_PATIENCE_S)
    if family is None:
        raise Http404
    context = {
        "title": f"{family.name} · Catalog · LabDash",
        "family": family,
        "context": CONTEXT,
        "can_more": any(entry.can_more for entry in family.entries),
    }
    return TemplateResponse(request, "catalog/family.html", context)


@require_safe
def catalog_new(request: Request) -> HttpResponse:
    """Ask for an address or a file, and show what it says of itself."""
    if not request.GET.get("model") and not request.GET.get("facts"):
        return _new_page(request, SourceForm())
    try:
        file = _file(request.GET)
        draft = draft_of(file)
    except PlannerError as error:
        return _new_page(request, SourceForm(request.GET), error=sentence(str(error)))
    told = {"name": draft.name, "family": draft.family, "capabilities": draft.capabilities}
    form = EntryForm(initial=told)
    return _new_page(request, SourceForm(request.GET), file=file, draft=draft, form=form)


@button("catalog_new")
def catalog_keep(request: Request) -> HttpResponse:
    """Keep an entry of the lab's own."""
    form = EntryForm(request.POST)
    try:
        file = _file(request.POST)
        draft = draft_of(file)
    except PlannerError as error:
        return _new_page(request, SourceForm(request.POST), error=sentence(str(error)))
    taken = find_named(form.data.get("name", "").strip())
    if form.is_valid() and (taken is None or form.cleaned_data["replace"]):
        try:
            source = f"{file.address or draft.name}: header read {timezone.localdate():%Y-%m-%d}"
            row = check_entry({**entry_of(file, source=source, **form.told()), **_tags(taken)})
            import_entries(rows=[row])
        except (PlannerError, LabDashError) as error:
            form.add_error(None, sentence(str(error)))
        else:
            messages.success(request, f"{row['name']} is in the catalog.")
            return redirect("catalog_family", row["family"])
    elif taken and not form.errors:
        form.add_error("name", _standing(taken))
    context = {"file": file, "draft": draft, "form": form, "taken": taken}
    return _new_page(request, SourceForm(request.POST), **context)


@require_safe
def catalog_edit(request: Request) -> HttpResponse:
    """Show what is told of an own entry by hand."""
    model = find_named(request.GET.get("name", ""))
    if model is None or not model.own:
        raise Http404
    told = {"family": model.family, "license": model.license, "capabilities": model.capabilities}
    return _edit_page(request, model.name, ChangeForm(initial=told))


@button("catalog")
def catalog_change(request: Request) -> HttpResponse:
    """Change what is told of an own entry."""
    name = request.POST.get("name", "")
    form = ChangeForm(request.POST)
    if not form.is_valid():
        return _edit_page(request, name, form)
    try:
        done = change_entry(name=name, told=form.told())
    except LabDashError as error:
        form.add_error(None, sentence(str(error)))
        return _edit_page(request, name, form)
    if not done:
        messages.error(request, f"{name[:100]} is no entry of yours any more.")
        return redirect("catalog")
    messages.success(request, f"{name} is changed.")
    return redirect("catalog_family", form.cleaned_data["family"])


@button("catalog")
def catalog_remove(request: Request) -> HttpResponse:
    """Take an own entry away."""
    name = request.POST.get("name", "")
    try:
        done = remove_entry(name=name)
    except LabDashError as error:
        messages.error(request, sentence(str(error)))
    else:
        text = "is no longer in the catalog" if done else "was not in the catalog any more"
        messages.success(request, f"{name[:100]} {text}.")
    return redirect("catalog")


def _tags(taken: CatalogModel | None) -> dict[str, object]:
    """Return by which names of the library an entry was found whose place another takes."""
    if taken is None or not taken.ollama:
        return {}
    return {"ollama": taken.ollama, "latest": taken.latest}


def _standing(model: CatalogModel) -> str:
    """Say of which entry the name is."""
    if model.own:
        return f"{model.name} is an entry of yours already: tick below to put this in its place."
    tag = f", also for {model.ollama}" if model.ollama else ""
    return f"{model.name} comes with LabDash: tick below to put this in its place{tag}."


def _edit_page(request: Request, name: str, form: ChangeForm) -> HttpResponse:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    context = {"title": f"{name} · Catalog · LabDash", "name": name, "form": form}
    return TemplateResponse(request, "catalog/edit.html", context, status=status)


def _file(sent: QueryDict) -> File:
    """Open what is to be an entry. Raises ``PlannerError``."""
    form = SourceForm(sent)
    if not form.is_valid():
        raise PlannerError(first_error(form))
    if form.cleaned_data["facts"]:
        return file_of_facts(form.cleaned_data["facts"])
    return file_at(form.cleaned_data["model"])


def _new_page(request: Request, source: SourceForm, **context: object) -> HttpResponse:
    form = context.get("form")
    is_bad = bool(context.get("error") or (isinstance(form, EntryForm) and form.errors))
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_bad else HTTPStatus.OK
    shown = {"title": "New entry · Catalog · LabDash", "source": source, **context}
    return TemplateResponse(request, "catalog/new.html", shown, status=status)
