"""What a machine that joins asks for. Nobody signs in here: the token is the right to join."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe
from pydantic import ValidationError

from labdash import door, node_files
from labdash.domain import joining
from labdash.domain.errors import LabDashError
from labdash.live import database_number
from labdash.store_users import user_name
from workers import wire

type View = Callable[..., HttpResponseBase]

TEXT = "text/plain; charset=utf-8"


def over_tls(view: View) -> View:
    """Answer only where nobody can listen or answer in the hub's place."""

    @wraps(view)
    def answer(request: HttpRequest, **names: str) -> HttpResponseBase:
        if request.is_secure():
            return view(request, **names)
        text = "Machines join by HTTPS: copy the whole line from the node's page.\n"
        return HttpResponse(text, content_type=TEXT, status=HTTPStatus.FORBIDDEN)

    return answer


@login_not_required
@require_safe
def join(request: HttpRequest) -> HttpResponse:
    """Tell a person with a browser how this very machine joins."""
    address = request.META["REMOTE_ADDR"]
    host = f"[{address}]" if ":" in address else address
    context = {"url": f"http://{host}:11434", "system": _system(request)}
    return TemplateResponse(request, "join.html", context)


def _system(request: HttpRequest) -> str:
    """Tell by the browser's word what kind of machine asks: one of NodeKind, or nothing."""
    agent = request.headers.get("User-Agent", "")
    known = {"Windows NT": "windows", "Macintosh": "mac", "Android": "", "Linux": "linux"}
    return next((kind for word, kind in known.items() if word in agent), "")


@login_not_required
@require_safe
@never_cache
@over_tls
def join_script(request: HttpRequest) -> HttpResponse:
    """Return the program that makes a machine a node. It holds no secret."""
    script = node_files.join_script(request.get_host(), door.certificate().fingerprint)
    return HttpResponse(script, content_type=TEXT)


@login_not_required
@require_safe
@over_tls
def join_archive(_request: HttpRequest) -> HttpResponse:
    """Return the worker's code."""
    return HttpResponse(node_files.archive(), content_type="application/gzip")


@login_not_required
@require_safe
@over_tls
def join_wheels(_request: HttpRequest) -> HttpResponse:
    """List the packages that are at hand."""
    return JsonResponse(node_files.wheels())


@login_not_required
@require_safe
@over_tls
def join_wheel(_request: HttpRequest, name: str) -> HttpResponseBase:
    """Return a package."""
    path = node_files.wheel(name)
    if path is None:
        return HttpResponse("no such package\n", content_type=TEXT, status=HTTPStatus.NOT_FOUND)
    return FileResponse(path.open("rb"), content_type="application/zip")


@login_not_required
@csrf_exempt
@require_POST
@never_cache
@over_tls
@sensitive_variables("asked", "joined")
def join_redeem(request: HttpRequest) -> HttpResponse:
    """Exchange a token for the node's own account in the store."""
    try:
        asked = _asked(request)
        joined = joining.redeem(
            token=asked.token,
            address=request.META["REMOTE_ADDR"],
            hostname=asked.hostname,
            ollama_urls=asked.ollama_urls,
        )
    except LabDashError as error:
        return JsonResponse({"error": str(error)}, status=HTTPStatus.FORBIDDEN)
    return JsonResponse(
        {
            "slug": joined.slug,
            "user": user_name(joined.slug),
            "password": joined.password,
            "store_port": settings.LABDASH_STORE_PORT,
            "database": database_number(),
            "certificate": door.certificate().pem,
        }
    )


def _asked(request: HttpRequest) -> wire.JoinRequest:
    try:
        return wire.JoinRequest.model_validate_json(request.body)
    except ValidationError as error:
        raise LabDashError("This is no request to join: run the line of the page.") from error
