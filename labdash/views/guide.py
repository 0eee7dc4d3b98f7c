"""The guide: contents, search and tour, and the frame of its chapters."""

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from labdash.domain.guide import close_tour
from labdash.forms import LEAST_CONTEXT
from labdash.guide import CHAPTERS, TOUR, Chapter, find_chapter
from labdash.models import TourClosed
from labdash.planner.errors import PlannerError
from labdash.queries.guide import LONGEST_SEARCH, headings, search
from labdash.views.http import Request, button
from workers.wire.loads import MOST_CONTEXT

# The element that a chapter's form renews.
TARGET = "answer"
# No number that is asked with is longer.
MOST_DIGITS = 18


@dataclass(frozen=True, kw_only=True)
class TourStop:
    """A stop of the tour as a page shows it, numbered from one."""

    number: int
    of: int
    text: str
    here: str
    back: str
    on: str


@require_safe
def guide(request: Request) -> HttpResponse:
    """Show what the guide holds, and what a search finds in it."""
    wanted = request.GET.get("q", "")[:LONGEST_SEARCH]
    context = {
        "title": "Guide · LabDash",
        "chapters": [(each, headings(each)) for each in CHAPTERS],
        "search": wanted,
        "found": search(wanted),
        "tour": None if TourClosed.objects.filter(user=request.user).exists() else _stop(1),
        "tour_url": _stop_url(1),
    }
    name = "guide/contents.html#found" if request.htmx.target == "found" else "guide/contents.html"
    return TemplateResponse(request, name, context)


@button("guide")
def guide_tour_close(request: Request) -> HttpResponse:
    """Offer the tour no more."""
    close_tour(user=request.user)
    return redirect("guide")


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
    shown |= {"chapters": CHAPTERS, "headings": headings(chapter), "stop": _asked_stop(request)}
    shown |= _beside(chapter)
    return TemplateResponse(request, template, shown | context, status=status)


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


def _asked_stop(request: Request) -> TourStop | None:
    number = request.GET.get("tour", "")
    return _stop(int(number)) if number in {str(each + 1) for each in range(len(TOUR))} else None


def _stop(number: int) -> TourStop:
    return TourStop(
        number=number,
        of=len(TOUR),
        text=TOUR[number - 1].text,
        here=_stop_url(number),
        back=_stop_url(number - 1),
        on=_stop_url(number + 1),
    )


def _stop_url(number: int) -> str:
    """Return the address of a stop, nothing before the first and after the last."""
    if not 1 <= number <= len(TOUR):
        return ""
    stop = TOUR[number - 1]
    url = reverse(find_chapter(stop.slug).url_name)
    asked = {"tour": number} | ({"model": stop.model} if stop.model else {})
    return f"{url}?{urlencode(asked)}#{stop.anchor}"
