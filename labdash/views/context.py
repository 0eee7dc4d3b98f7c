"""What every page shows around its content."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

# Name of the URL, what the navigation calls it.
PAGES = (
    ("overview", "Overview"),
    ("nodes", "Nodes"),
    ("models", "Models"),
    ("fit", "Will it fit?"),
    ("planner", "Planner"),
    ("pulls", "Pulls"),
    ("guide", "Guide"),
)
# Pages without an entry of their own, and the one that leads to them.
UNDER = {"catalog": "models"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """An entry of the navigation."""

    url: str
    label: str
    is_here: bool


def shell(request: HttpRequest) -> dict[str, object]:
    """Return what ``base.html`` needs."""
    return {"demo": settings.DEMO, "version": settings.VERSION, "pages": pages(request)}


def pages(request: HttpRequest) -> list[Page]:
    """Return the pages that this user may open."""
    path = _page_of(request.path)
    entries = [(reverse(name), label) for name, label in PAGES]
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated and user.is_staff:
        entries.append((reverse("admin:index"), "Admin"))
    home = reverse("overview")
    return [
        Page(
            url=url,
            label=label,
            is_here=path == url or (url != home and path.startswith(url)),
        )
        for url, label in entries
    ]


def _page_of(path: str) -> str:
    """Return the address of the entry that a page without one stands under, else its own."""
    return next((reverse(to) for name, to in UNDER.items() if path.startswith(reverse(name))), path)
