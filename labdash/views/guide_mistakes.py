"""Mistakes people make: popular claims that are wrong, each with the right number."""

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from labdash.queries.guide_mistakes import read_mistakes
from labdash.views.guide import chapter_page
from labdash.views.http import Request

SLUG = "mistakes"


@require_safe
def guide_mistakes(request: Request) -> HttpResponse:
    """Answer each claim."""
    return chapter_page(request, SLUG, found=read_mistakes())
