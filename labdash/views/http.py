"""What a request is here, and how an answer to HTMX is made."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.request import split_domain_port
from django.shortcuts import redirect, resolve_url
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import escape
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from django_htmx.middleware import HtmxDetails

from labdash import door
from labdash.domain.errors import LabDashError
from labdash.hosts import is_loopback
from labdash.live import StoreDown, mark_watched
from labdash.queries.lab import LabView
from labdash.queries.problems import ProblemView

type View = Callable[..., HttpResponse]

# The element that asks each second, see templates/_poll.html.
POLL_ID = "poll"


class Request(HttpRequest):
    """A request of somebody who signed in."""

    htmx: HtmxDetails
    user: User


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A rendered part of a page whose root element has ``id``.

    ``version`` is equal while a viewer sees no difference. ``inside`` names the fragment that
    holds this one: when that is sent, this one has come with it.
    """

    id: str
    html: SafeString
    version: str
    inside: str = ""

    def out_of_band(self) -> str:
        """Return the element as one that finds its own place on the page."""
        return self.html.replace(f'id="{self.id}"', f'id="{self.id}" hx-swap-oob="true"', 1)


def fragment(template: str, fragment_id: str, *, inside: str = "", **context: object) -> Fragment:
    """Render a partial. Without the request: what every viewer sees alike, and no token."""
    html = render_to_string(template, {"id": fragment_id, **context}).strip()
    return Fragment(
        id=fragment_id,
        html=mark_safe(html),  # noqa: S308 - a template's output
        version=digest(html),
        inside=inside,
    )


def digest(text: str) -> str:
    """Return a few letters that differ where the text differs."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def live_page(
    request: HttpRequest,
    template: str,
    fragments: Sequence[Fragment],
    *,
    title: str,
    lab: LabView,
    problems: Iterable[ProblemView],
    **context: object,
) -> HttpResponse:
    """Answer a page that polls itself: the page, what changed on it, or 204."""
    watch(view.node.slug for view in lab.nodes)
    told = tuple(problems)
    title = f"({trouble}) {title}" if (trouble := count_trouble(told)) else title
    parts = [*frame(told), *fragments]
    if is_poll(request):
        return poll_answer(request, parts, title=title)
    shown = {"title": title, "parts": {part.id: part.html for part in parts}}
    return TemplateResponse(request, template, {**context, **shown, **poll_context(request, parts)})


def frame(problems: Sequence[ProblemView]) -> tuple[Fragment, Fragment]:
    """Render what every live page has around its content: what ails the hub, above all."""
    ailing = [each for each in problems if concerns_hub(each)]
    return (
        fragment("_frame.html#favicon", "favicon", trouble=count_trouble(problems)),
        fragment("_frame.html#banner", "banner", problems=ailing),
    )


def count_trouble(problems: Iterable[ProblemView]) -> int:
    """Count what needs the owner; a hint does not."""
    return sum(problem.severity != "info" for problem in problems)


def concerns_hub(problem: ProblemView) -> bool:
    """Tell whether a problem makes every page less than live."""
    return not problem.node and problem.severity == "bad"


def watch(slugs: Iterable[str]) -> None:
    """Ask for fresh samples; a store that is down is told on the page already."""
    with suppress(StoreDown):
        mark_watched(slugs)


def is_poll(request: HttpRequest) -> bool:
    """Tell whether a page asks for what has changed."""
    return request.headers.get("HX-Target") == POLL_ID


def poll_answer(request: HttpRequest, parts: Sequence[Fragment], *, title: str) -> HttpResponse:
    """Return the polling element with new versions and what changed, or 204."""
    shown = set(request.GET.get("v", "").split(","))
    changed = [part for part in parts if _version(part) not in shown]
    if not changed:
        return HttpResponse(status=204)
    sent = {part.id for part in changed}
    answer = [
        f"<title>{escape(title)}</title>",
        render_to_string("_poll.html", poll_context(request, parts)),
        *(part.out_of_band() for part in changed if part.inside not in sent),
    ]
    return HttpResponse("".join(answer))


def done(request: Request, text: str = "", *, default: str) -> HttpResponse:
    """Answer a button whose work has begun: the page asks at once for what has changed.

    Without HTMX the page is loaded again, ``default`` where none was named.
    """
    if not request.htmx:
        if text:
            messages.success(request, text)
        return redirect(next_url(request, default=default))
    answer = _flash(text, "good") if text else HttpResponse(status=HTTPStatus.NO_CONTENT)
    answer.headers["HX-Trigger"] = "tick"
    return answer


def refused(request: Request, error: LabDashError, *, default: str) -> HttpResponse:
    """Answer a button whose work cannot begin with the reason, in place."""
    if not request.htmx:
        messages.error(request, str(error))
        return redirect(next_url(request, default=default))
    return _flash(str(error), "bad", status=HTTPStatus.UNPROCESSABLE_ENTITY)


def button(page: str) -> Callable[[View], View]:
    """Let only a POST act. Who comes by reload, or from signing in, is shown ``page`` instead."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **names: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, **names)
            place = {name: names[name] for name in ("slug",) if name in names}
            return HttpResponseRedirect(reverse(page, kwargs=place))

        return answer

    return decorate


def is_readable(request: HttpRequest) -> bool:
    """Tell whether what is sent crosses a network as plain text."""
    return not request.is_secure() and not is_loopback(split_domain_port(request.get_host())[0])


def by_https(request: HttpRequest) -> str | None:
    """Return the address by HTTPS of a page that came in plain text, where there is one."""
    if request.is_secure():
        return None
    host = door.https_address(request.get_host())
    return host and host + request.get_full_path()


def posted(request: HttpRequest) -> QueryDict | None:
    """Return what a form shall judge; nothing before it was sent, were it sent empty."""
    return request.POST if request.method == "POST" else None


def first_error(form: BaseForm) -> str:
    """Return the one line that says what is wrong with a form."""
    return str(next(iter(form.errors.values()))[0])


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop, but for names such as hf.co."""
    begun = text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
    return begun if begun.endswith((".", "?")) else f"{begun}."


def next_url(request: HttpRequest, *, default: str = "overview") -> str:
    """Return where to go on: a page of this lab, never of another host."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        return wanted
    return resolve_url(default)


def _flash(text: str, level: str, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    shown = fragment("_frame.html#flash", "flash", text=text, level=level)
    return HttpResponse(shown.out_of_band(), status=status)


def poll_context(request: HttpRequest, parts: Iterable[Fragment]) -> dict[str, object]:
    """Return what ``_poll.html`` needs: the page's own address with the versions on it."""
    query = request.GET.copy()
    query["v"] = ",".join(_version(part) for part in parts)
    return {"poll_url": f"{request.path}?{query.urlencode(safe=',')}"}


def _version(part: Fragment) -> str:
    return f"{part.id}.{part.version}"
