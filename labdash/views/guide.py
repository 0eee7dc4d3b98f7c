"""The guide: contents, search and tour, and the frame of its chapters."""

from http import HTTPStatus
from urllib.parse import urlencode

from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.forms import LEAST_CONTEXT
from labdash.guide import CHAPTERS, TOUR, Chapter, find_chapter
from labdash.models import TourClosed
from labdash.planner.errors import PlannerError
from labdash.queries.guide import LONGEST_SEARCH, headings, search
from labdash.queries.guide_reader import read_reader
from labdash.views.guide_tour import asked_stop
from labdash.views.http import Request
from workers.wire.loads import MOST_CONTEXT

# The element that a chapter's form renews.
TARGET = "answer"
# No key of a machine is longer.
LONGEST_KEY = 100
# No number that is asked with is longer.
MOST_DIGITS = 18


@require_safe
def guide(request: Request) -> HttpResponse:
    """Show what the guide holds, and what a search finds in it."""
    wanted = request.GET.get("q", "")[:LONGEST_SEARCH]
    context = {
        "title": "Guide · LabDash",
        "chapters": [(each, headings(each)) for each in CHAPTERS],
        "search": wanted,
        "found": search(wanted),
        "stops": len(TOUR),
        "is_toured": TourClosed.objects.filter(user=request.user).exists(),
        "reader": read_reader("", now=timezone.now()),
    }
    name = "guide/contents.html#found" if request.htmx.target == "found" else "guide/contents.html"
    return TemplateResponse(request, name, context)


def chapter_page(
    request: Request, slug: str, *, error: str = "", **context: object
) -> HttpResponse:
    """Answer a chapter, or of its page the part ``answer`` where its form asks by HTMX.

    ``error`` is the one line that says what is wrong with what was asked for.
    """
    chapter = find_chapter(slug)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    template = f"guide/{chapter.template}.html"
    shown = {"title": f"{chapter.title} · Guide · LabDash", "chapter": chapter, "error": error}
    if request.htmx.target == TARGET:
        return TemplateResponse(request, f"{template}#answer", shown | context, status=status)
    stop = asked_stop(request)
    yours = stop.file if stop and stop.advice.cell.model == request.GET.get("model") else ""
    shown |= {"chapters": CHAPTERS, "headings": headings(chapter), "stop": stop, "yours": yours}
    shown["carried"] = _carried(request)
    shown |= _beside(chapter)
    return TemplateResponse(request, template, shown | context, status=status)


def _carried(request: Request) -> str:
    """Write the reader's machine as the query of a link, so that the next chapter knows it."""
    at = request.GET.get("at", "")
    return f"?{urlencode({'at': at})}" if 0 < len(at) <= LONGEST_KEY else ""


def asked_context(request: Request, first: int) -> int:
    """Read the context that was asked for. Raises ``PlannerError`` with one line."""
    written = request.GET.get("context", "").strip() or str(first)
    is_whole = written.isascii() and written.isdecimal() and len(written) <= MOST_DIGITS
    if is_whole and LEAST_CONTEXT <= int(written) <= MOST_CONTEXT:
        return int(written)
    raise PlannerError(
        f"Write the context in tokens, between {LEAST_CONTEXT} and {MOST_CONTEXT:,}."
    )


def _beside(chapter: Chapter) -> dict[str, Chapter | None]:
    """Return the chapters before and after."""
    at = CHAPTERS.index(chapter)
    return {
        "before": CHAPTERS[at - 1] if at else None,
        "after": CHAPTERS[at + 1] if at + 1 < len(CHAPTERS) else None,
    }
