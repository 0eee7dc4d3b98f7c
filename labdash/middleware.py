"""Host check, what every HTMX answer needs, and what a database that takes nothing is told as."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.shortcuts import render, resolve_url
from django.utils.cache import patch_vary_headers

from labdash.domain.errors import LabDashError
from labdash.hosts import is_ours
from labdash.views.http import refused

type GetResponse = Callable[[HttpRequest], HttpResponse]

log = logging.getLogger(__name__)


def host_guard(get_response: GetResponse) -> GetResponse:
    """Refuse requests under a name that is not this hub's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        try:
            host = request.get_host()
        except DisallowedHost:
            return _refuse_host("The Host header of this request is broken.")
        if is_ours(host):
            return get_response(request)
        return _refuse_host(
            f"This LabDash does not answer to the name {split_domain_port(host)[0]!r}. If you"
            " trust that name, start it with LABDASH_ALLOWED_HOSTS set to it (names separated by"
            " commas), or open it by its address."
        )

    return middleware


def _refuse_host(text: str) -> HttpResponse:
    """Answer in plain text: what was asked for under a foreign name is shown nothing else."""
    return HttpResponse(f"{text}\n", content_type="text/plain; charset=utf-8", status=400)


def htmx(get_response: GetResponse) -> GetResponse:
    """Let HTMX follow redirects as a whole page, and caches tell fragments from pages."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        patch_vary_headers(response, ["HX-Request", "HX-Target"])
        is_redirect = HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST
        if "HX-Request" in request.headers and is_redirect and "Location" in response.headers:
            return _client_redirect(request, response.headers["Location"])
        return response

    return middleware


def _client_redirect(request: HttpRequest, location: str) -> HttpResponse:
    """Send the whole page on. After sign-in it comes back to the page, not to its fragment."""
    path = urlsplit(location).path
    if path == resolve_url(settings.LOGIN_URL):
        page = urlsplit(request.headers.get("HX-Current-URL", ""))
        here = urlunsplit(("", "", page.path or "/", page.query, ""))
        location = f"{path}?{urlencode({'next': here})}"
    answer = HttpResponse(headers={"HX-Redirect": location})
    patch_vary_headers(answer, ["HX-Request", "HX-Target"])
    return answer


class DatabaseErrors:
    """Answers what failed for a locked, full or absent database with its reason."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: Any, exception: Exception) -> HttpResponse | None:
        """Tell a button in place, and everybody else on a page of its own."""
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        log.warning("%s %s: %s", request.method, request.path, exception)
        reason = str(exception).strip().partition("\n")[0].rstrip(".")
        if request.htmx and request.method == "POST":
            text = f"Nothing was done: the database takes nothing ({reason}). Try it again soon."
            return refused(request, LabDashError(text), default="overview")
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return render(request, "503.html", {"reason": reason}, status=status)
