"""Host check, and what every HTMX answer needs."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers

from labdash.hosts import is_ours

type GetResponse = Callable[[HttpRequest], HttpResponse]


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
