"""The guide's chapter on one model in all its ways."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.guide_lab_form import ModelForm, filled
from labdash.planner.errors import PlannerError
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_one_model import params_of, read_model
from labdash.queries.guide_places import own_places
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from labdash.views.guide import chapter_page
from labdash.views.http import Request, first_error, sentence


@require_safe
def guide_one_model(request: Request) -> HttpResponse:
    """Show what a model takes in 16, 8 and 4 bits, and where it runs."""
    own = own_places(read_lab(now=timezone.now()), read_library())
    form = ModelForm(filled(ModelForm.FIRST, request.GET))
    error, seen = "", None
    if form.is_valid():
        try:
            seen = read_model(form.cleaned_data["model"], own, form.cleaned_data["context"])
        except PlannerError as refusal:
            error = sentence(str(refusal))
    else:
        error = first_error(form)
    return chapter_page(
        request,
        "one-model",
        error=error,
        form=form,
        seen=seen,
        example_params=params_of(ModelForm.FIRST["model"]),
        suggestions=suggestions(),
    )
