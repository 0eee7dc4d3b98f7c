"""Addresses of this lab: what other programs need to know of its Ollama servers."""

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.addresses import OPENING, read_addresses
from labdash.views.http import Request, frame


@require_safe
def addresses(request: Request) -> HttpResponse:
    """Show each server's addresses and the lines to copy. It does not poll: they stay."""
    seen = read_addresses(asked_by=request.get_host(), now=timezone.now())
    parts = {part.id: part.html for part in frame(seen.problems)}
    context = {"title": "Addresses · LabDash", "seen": seen, "opening": OPENING, "parts": parts}
    return TemplateResponse(request, "addresses.html", context)
