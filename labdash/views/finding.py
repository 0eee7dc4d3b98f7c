"""Find my machines: a look for Ollama in the hub's own networks, after a click."""

from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import finding
from labdash.domain.errors import LabDashError
from labdash.queries.finding import read_look
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from labdash.views.http import Request, button, done, fragment, live_page, refused


@require_safe
def find(request: Request) -> HttpResponse:
    """Show the last look, which goes on by itself, and the button that begins one."""
    now = timezone.now()
    lab = read_lab(now=now)
    look = read_look(lab, now=now)
    return live_page(
        request,
        "find.html",
        [
            fragment("find.html#look", "look", look=look),
            fragment("find.html#hits", "hits", look=look),
        ],
        title="Find my machines · LabDash",
        lab=lab,
        problems=find_problems(lab),
    )


@button("find")
def find_look(request: Request) -> HttpResponse:
    """Begin a look, unless one goes on."""
    now = timezone.now()
    try:
        if not read_look(read_lab(now=now), now=now).is_active:
            finding.look(now=now)
    except LabDashError as error:
        return refused(request, error, default=reverse("find"))
    return done(request, default=reverse("find"))


@button("find")
def find_stop(request: Request) -> HttpResponse:
    """End a look; what it found stays."""
    try:
        finding.stop()
    except LabDashError as error:
        return refused(request, error, default=reverse("find"))
    return done(request, default=reverse("find"))
