"""Whether the web server answers."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """Say "ok" and no more: strangers may ask."""
    return HttpResponse("ok", content_type="text/plain")
