"""Will it fit? One model on every GPU of the lab, before anything is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.catalog.gpus import known_names
from labdash.catalog.hardware import HARDWARE
from labdash.fit_form import FitForm
from labdash.planner.errors import PlannerError
from labdash.planner.show import model_of_show
from labdash.queries.fit import Answer, read_described, read_fit
from labdash.queries.fit_files import pack, pack_model
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_cells import variant_at
from labdash.views.http import Request, button, first_error, sentence, watch
from labdash.views.uploads import Upload

TARGET = "answer"
# Where no model says what it was trained with.
USUAL_TOP = 131_072
STEP = 2048
# No number that is asked with is longer.
MOST_DIGITS = 18


@dataclass(frozen=True, kw_only=True)
class Slider:
    """The range of contexts that the page offers, in tokens."""

    value: int
    top: int
    step: int = STEP


@require_safe
def fit(request: Request) -> HttpResponse:
    """Show what a model takes of each GPU. All that was chosen stands in the address."""
    return _page(request, request.GET)


@button("fit")
def fit_file(request: Request) -> HttpResponse:
    """Read a file and put what matters of it in the page's address.

    The page's script sends the first megabytes and more where they are wanted; without it a
    browser sends all, of which the server takes the first 64 MiB.
    """
    told = request.POST.get("file_bytes", "")
    # Set while the body is read, which asking for a field of it does.
    upload: Upload = getattr(request, "upload", Upload(name=""))
    is_script = request.accepts("application/json") and not request.accepts("text/html")
    file_bytes = int(told) if told.isdecimal() and len(told) <= MOST_DIGITS else None
    if is_script and file_bytes and (wanted := upload.wanted_bytes(file_bytes)):
        return JsonResponse({"wanted": wanted})
    facts, refusal = "", ""
    try:
        facts = _facts(upload, file_bytes)
    except PlannerError as error:
        refusal = f"{upload.name or 'The file'}: {error}"
    if is_script:
        answer = {"error": refusal} if refusal else {"facts": facts, "name": upload.name}
        return JsonResponse(answer)
    if request.POST.get("for") == "catalog":
        return _to_catalog(request, facts, refusal)
    if refusal:
        return _page(request, request.POST, refusal=refusal)
    values = {**_values(request.POST), "model": "", "facts": facts, "quant": ""}
    return redirect(f"{reverse('fit')}?{urlencode(values)}")


def _to_catalog(request: Request, facts: str, refusal: str) -> HttpResponse:
    """Lead back to where the file was chosen for an entry of one's own."""
    if refusal:
        messages.error(request, refusal)
        return redirect("catalog_new")
    return redirect(f"{reverse('catalog_new')}?{urlencode({'facts': facts})}")


def _facts(upload: Upload, file_bytes: int | None) -> str:
    """Keep what matters of a file: of its header, or of a saved show."""
    if upload.text is None:
        return pack(upload.header(), name=upload.name, file_bytes=file_bytes)
    show = upload.show()
    return pack_model(model_of_show(show, name=upload.name), (), can=show.get("capabilities"))


def _page(request: Request, sent: QueryDict, refusal: str = "") -> HttpResponse:
    values = _values(sent)
    form = FitForm(values)
    found, error = (None, refusal) if refusal else _answer(form)
    slider = _slider(values, found)
    thought, not_known = read_described("" if found or error else values.get("card", ""))
    best = found.table.best if found and found.table else ""
    context = {
        "title": "Will it fit? · LabDash",
        "form": form,
        "values": values,
        "answer": found,
        "error": error,
        "now": timezone.now(),
        "thought": thought,
        "not_known": found.not_known if found else not_known,
        "best_query": urlencode({**values, "quant": best}),
        "best_name": _name_at(values, best),
        "slider": slider,
        "is_other_slider": found is not None and sent.get("top") != str(slider.top),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    if request.htmx.target == TARGET:
        return TemplateResponse(request, "fit.html#update", context, status=status)
    hardware = (*(each.label for each in HARDWARE), *known_names())
    context |= {"suggestions": suggestions(), "hardware": hardware}
    return TemplateResponse(request, "fit.html", context, status=status)


def _values(sent: QueryDict) -> dict[str, str]:
    """Return what the form shows: what was sent, else how a page begins."""
    given = {name: str(sent[name]) for name in FitForm.base_fields if sent.get(name)}
    if sent.get("was", given.get("card", "")) != given.get("card", ""):
        # Other hardware was described since a place was chosen: the table is to be of that.
        given.pop("at", None)
    return {**FitForm.FIRST, **given}


def _name_at(values: Mapping[str, str], quant: str) -> str:
    """Return the name to pull at a quant, empty where nobody here knows it."""
    if not quant or values.get("facts"):
        return ""
    try:
        return variant_at(values["model"], quant).name
    except PlannerError:
        return ""


def _answer(form: FitForm) -> tuple[Answer | None, str]:
    """Return the answer, or the one line that says what is wrong, or neither without a model."""
    if not form.is_valid():
        return None, first_error(form)
    asked = form.asked()
    if not asked.name and not asked.facts:
        return None, ""
    try:
        found = read_fit(asked, now=timezone.now())
    except PlannerError as error:
        return None, sentence(str(error))
    watch(node.slug for node in found.nodes)
    return found, ""


def _slider(values: Mapping[str, str], found: Answer | None) -> Slider:
    """Reach from 2k to what the model was trained with."""
    top = found.chosen.model.shape.ctx_train if found else USUAL_TOP
    wanted = values["context"]
    value = int(wanted) if wanted.isdecimal() and len(wanted) <= MOST_DIGITS else STEP
    return Slider(value=value, top=max(top or USUAL_TOP, STEP), step=STEP if top >= STEP else 256)
