"""The tour of the guide: four stops that lead to the file for one machine."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain.guide import close_tour
from labdash.guide import TOUR, find_chapter
from labdash.queries.guide_reader import Reader, read_reader
from labdash.queries.guide_tour import Advice, advise
from labdash.views.http import Request, button


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A stop as a page shows it, numbered from one, with what the tour leads to."""

    number: int
    of: int
    slug: str
    back: str
    on: str
    reader: Reader
    advice: Advice

    @property
    def file(self) -> str:
        """Name the quant that the tour leads to."""
        return self.advice.cell.variant.quant


@require_safe
def guide_tour(request: Request) -> HttpResponse:
    """Begin the tour for the machine that was chosen."""
    reader = read_reader(request.GET.get("at", ""), now=timezone.now())
    return redirect(_url(1, advise(reader.place)))


@button("guide")
def guide_tour_close(request: Request) -> HttpResponse:
    """Offer the tour no more."""
    close_tour(user=request.user)
    return redirect("guide")


def asked_stop(request: Request) -> Stop | None:
    """Return the stop that an address names, None for a page outside the tour."""
    written = request.GET.get("tour", "")
    if written not in {str(number) for number in range(1, len(TOUR) + 1)}:
        return None
    number = int(written)
    reader = read_reader(request.GET.get("at", ""), now=timezone.now())
    advice = advise(reader.place)
    return Stop(
        number=number,
        of=len(TOUR),
        slug=TOUR[number - 1],
        back=_url(number - 1, advice),
        on=_url(number + 1, advice),
        reader=reader,
        advice=advice,
    )


def _url(number: int, advice: Advice) -> str:
    """Return the address of a stop, nothing before the first and after the last."""
    if not 1 <= number <= len(TOUR):
        return ""
    url = reverse(find_chapter(TOUR[number - 1]).url_name)
    asked = {"tour": number, "at": advice.place.key, "model": advice.cell.model}
    if TOUR[number - 1] == "names":
        asked["name"] = advice.cell.variant.name
    return f"{url}?{urlencode(asked)}#tour"
