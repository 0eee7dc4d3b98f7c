"""Which models are where."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.models import read_models
from labdash.views.http import Request, fragment, live_page


@require_safe
def models(request: Request) -> HttpResponse:
    """Show families down and nodes across, with a button where a model is absent."""
    search = request.GET.get("q", "")[:100]
    seen = read_models(now=timezone.now(), search=search)
    matrix = fragment("models.html#matrix", "matrix", seen=seen, search=search)
    return live_page(
        request,
        "models.html",
        [matrix],
        title="Models · LabDash",
        lab=seen.lab,
        problems=seen.problems,
        search=search,
    )
