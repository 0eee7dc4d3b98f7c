"""What every page shows around its content."""

from django.conf import settings
from django.http import HttpRequest


def shell(_request: HttpRequest) -> dict[str, object]:
    """Return what ``base.html`` needs."""
    return {"demo": settings.DEMO, "version": settings.VERSION}
