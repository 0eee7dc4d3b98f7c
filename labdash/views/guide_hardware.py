"""The guide's chapter on what to run where."""

from http import HTTPStatus

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.guide_lab_form import HardwareForm, filled, first_place
from labdash.planner.errors import PlannerError
from labdash.queries import guide_hardware as tables
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_curve import choose, curve
from labdash.queries.guide_mixture import read_mixtures
from labdash.queries.guide_pairs import pairs
from labdash.queries.guide_places import find_place, own_places
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from labdash.views.guide import chapter_page
from labdash.views.http import Request, first_error, sentence

USUAL_CONTEXT = 8192
# The part of the page that another machine or model changes.
MACHINE = "machine"


@require_safe
def guide_hardware(request: Request) -> HttpResponse:
    """Show each size of model on each machine, and one machine closer."""
    lab, library = read_lab(now=timezone.now()), read_library()
    own = own_places(lab, library)
    values = filled({**HardwareForm.FIRST, "at": first_place(own)}, request.GET)
    form = HardwareForm(values, own=own)
    error = "" if form.is_valid() else first_error(form)
    context = form.cleaned_data.get("context") or USUAL_CONTEXT
    place, found = find_place(request.GET.get("at", ""), own), None
    try:
        place, model = choose(own, place, "" if error else values["model"])
        found = None if error else curve(place, model)
    except PlannerError as refusal:
        error = sentence(str(refusal))
        place = place or choose(own, None, "")[0]
    values["at"] = place.key
    shown = {"context": context, "shown": tables.row(place, context), "curve": found}
    if request.htmx.target == MACHINE:
        return _part(request, error, shown)
    return chapter_page(
        request,
        "hardware",
        error=error,
        form=form,
        rows=tables.rows(own, context),
        sizes=tables.sizes(),
        macs=tables.macs(),
        pairs=pairs(own, context),
        mixtures=read_mixtures(lab, library, own, context),
        phones=tables.phones(),
        phone_rooms=tables.phone_rooms(),
        suggestions=suggestions(),
        **shown,
    )


def _part(request: Request, error: str, shown: dict[str, object]) -> HttpResponse:
    """Answer what another machine or model changes, and nothing else."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    template = "guide/hardware.html#machine"
    return TemplateResponse(request, template, {"error": error, **shown}, status=status)
