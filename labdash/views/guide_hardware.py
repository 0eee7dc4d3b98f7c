"""The guide's chapter on what to run where."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.guide_lab_form import HardwareForm, filled, first_place
from labdash.planner.errors import PlannerError
from labdash.queries import guide_hardware as tables
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_places import find_place, own_places
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from labdash.views.guide import chapter_page
from labdash.views.http import Request, first_error, sentence

USUAL_CONTEXT = 8192


@require_safe
def guide_hardware(request: Request) -> HttpResponse:
    """Show each size of model on each machine, and one machine closer."""
    own = own_places(read_lab(now=timezone.now()), read_library())
    values = filled({**HardwareForm.FIRST, "at": first_place(own)}, request.GET)
    form = HardwareForm(values, own=own)
    error, context = "", USUAL_CONTEXT
    if form.is_valid():
        context = form.cleaned_data["context"]
    else:
        error = first_error(form)
    rows = tables.rows(own, context)
    place = find_place(values["at"], own)
    shown = next((row for row in rows if row.place == place), None)
    curve = None
    if place and not error:
        # Without a wish the curve is that of what the machine would run.
        values["model"] = values["model"] or tables.advised(shown)
        try:
            curve = tables.curve(place, values["model"])
        except PlannerError as refusal:
            error = sentence(str(refusal))
    return chapter_page(
        request,
        "hardware",
        error=error,
        form=form,
        context=context,
        rows=rows,
        shown=shown,
        sizes=tables.sizes(),
        curve=curve,
        macs=tables.macs(),
        pairs=tables.one_and_two_cards(context),
        mixtures=tables.mixtures(context),
        phones=tables.phones(),
        phone_rooms=tables.phone_rooms(),
        suggestions=suggestions(),
    )
