"""Formats: which files there are, who runs them, and which of them LabDash manages."""

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from labdash.catalog.gpus import known_names
from labdash.planner.errors import PlannerError
from labdash.queries.fit_models import suggestions
from labdash.queries.guide_formats import MEASURED, gguf_qualities, read_formats
from labdash.views.guide import chapter_page
from labdash.views.http import Request, sentence

SLUG = "formats"
FIRST_MODEL, FIRST_CARD = "qwen3:8b", "RTX 3090"
LONGEST = 200


@require_safe
def guide_formats(request: Request) -> HttpResponse:
    """Compare the formats for a model and a card."""
    name = request.GET.get("model", "").strip()[:LONGEST] or FIRST_MODEL
    card = request.GET.get("card", "").strip()[:LONGEST] or FIRST_CARD
    found, error, qualities = None, "", gguf_qualities()
    try:
        found = read_formats(name, card)
    except PlannerError as refused:
        error = sentence(str(refused))
    return chapter_page(
        request,
        SLUG,
        error=error,
        found=found,
        asked_model=name,
        asked_card=card,
        suggestions=suggestions(),
        gpus=known_names(),
        measured=MEASURED,
        qualities=qualities,
        files=[file for _, file in qualities],
    )
