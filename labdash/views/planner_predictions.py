"""What was predicted of each load, and what was seen."""

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.predictions import read_errors
from labdash.views.http import Request


@require_safe
def planner_predictions(request: Request) -> HttpResponse:
    """List past predictions, the newest first."""
    context = {
        "title": "Past predictions · LabDash",
        "past": read_errors(),
        "now": timezone.now(),
    }
    return TemplateResponse(request, "planner/predictions.html", context)
