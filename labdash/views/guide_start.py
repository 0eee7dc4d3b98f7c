"""The guide's chapter on the first minute, and on doing it by hand."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.guide_lab_form import StartForm, filled, first_place
from labdash.planner.errors import PlannerError
from labdash.queries.addresses import read_addresses
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_gone import GONE
from labdash.queries.guide_places import find_place, own_places, usual_places
from labdash.queries.guide_start import read_start
from labdash.queries.library import read_library
from labdash.views.guide import chapter_page
from labdash.views.http import Request, first_error, sentence


@require_safe
def guide_start(request: Request) -> HttpResponse:
    """Show what to pull, where it answers, and the commands that do the same."""
    seen = read_addresses(asked_by=request.get_host(), now=timezone.now())
    own = own_places(seen.lab, read_library())
    first = {**StartForm.FIRST, "at": first_place(own)}
    form = StartForm(filled(first, request.GET), own=own)
    error, start = "", None
    if form.is_valid():
        data = form.cleaned_data
        place = find_place(data["at"], own) or usual_places()[0]
        try:
            start = read_start(data["model"], data["quant"], place, data["context"], seen.addresses)
        except PlannerError as refusal:
            error = sentence(str(refusal))
    else:
        error = first_error(form)
    return chapter_page(
        request,
        "start",
        error=error,
        form=form,
        start=start,
        addresses=seen.addresses,
        gone=GONE,
        suggestions=suggestions(),
    )
