"""The guide's chapter on what to run where."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.guide_lab_form import HardwareForm, filled, first_place
from labdash.planner.errors import PlannerError
from labdash.queries import guide_hardware as tables
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_places import find_place, own_places, usual_places
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from labdash.views.guide import chapter_page, sentence
from labdash.views.http import Request


@require_safe
def guide_hardware(request: Request) -> HttpResponse:
    """Show each size of model on each machine, and one machine closer."""
    own = own_places(read_lab(now=timezone.now()), read_library())
    first = {**HardwareForm.FIRST, "at": first_place(own)}
    form = HardwareForm(filled(first, request.GET), own=own)
    error, curve, context = "", None, int(first["context"])
    if form.is_valid():
        context = form.cleaned_data["context"]
        place = find_place(form.cleaned_data["at"], own) or usual_places()[0]
        try:
            curve = tables.curve(place, form.cleaned_data["model"])
        except PlannerError as refusal:
            error = sentence(str(refusal))
    else:
        error = str(next(iter(form.errors.values()))[0])
        place = own[0] if own else usual_places()[0]
    rows = tables.rows(own, context)
    return chapter_page(
        request,
        "hardware",
        error=error,
        form=form,
        context=context,
        rows=rows,
        shown=next((row for row in rows if row.place == place), None),
        sizes=tables.sizes(),
        curve=curve,
        macs=tables.macs(),
        pairs=tables.one_and_two_cards(context),
        mixtures=tables.mixtures(context),
        phones=tables.phones(),
        phone_rooms=tables.phone_rooms(),
        suggestions=suggestions(),
    )
