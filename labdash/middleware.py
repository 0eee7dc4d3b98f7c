"""Host check, and what every HTMX answer needs."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

type GetResponse = Callable[[HttpRequest], HttpResponse]


def host_guard(get_response: GetResponse) -> GetResponse:
    """Pass on."""
    return get_response


def htmx(get_response: GetResponse) -> GetResponse:
    """Pass on."""
    return get_response
