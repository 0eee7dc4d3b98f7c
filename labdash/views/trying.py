"""Try it: one prompt to one model of a node, its answer as it comes, and what that proves."""

import re
from http import HTTPStatus

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from labdash.domain import trying
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY
from labdash.forms import TryForm
from labdash.live import StoreDown
from labdash.models import Node
from labdash.queries.trying import (
    Part,
    Run,
    cloud_names,
    over,
    read_choices,
    read_part,
    read_run,
)
from labdash.queries.verdict import judge
from labdash.views.http import Request, button, first_error, watch
from workers.wire.tries import MOST_S, MOST_TOKENS

PROMPT = "Why is the sky blue? Answer in three sentences."
TARGET = "answer"
AWAY = "away"
PHASES = ("waiting", "loading", "reading", "thinking", "answering", AWAY)
_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[0-9]{1,9}")


@never_cache
@require_safe
def node_try(request: Request, slug: str) -> HttpResponse:
    """Show the form and, after a POST without HTMX, what came of the answer so far."""
    node = get_object_or_404(Node, slug=slug)
    first = {"model": request.GET.get("model", ""), "prompt": PROMPT}
    run_id = request.GET.get("run", "")
    answer = _answer(request, slug, run_id) if _ID.fullmatch(run_id) else {}
    return _page(request, node, TryForm(initial=first, node=node), **answer)


@button("node_try")
@sensitive_post_parameters("prompt")
def node_try_ask(request: Request, slug: str) -> HttpResponse:
    """Ask; a try of the same page that still runs is left."""
    node = get_object_or_404(Node, slug=slug)
    form = TryForm(request.POST, node=node)
    run = _ask(request, form, slug) if form.is_valid() else None
    if run is None:
        return _refused(request, node, form)
    if not request.htmx:
        return redirect(f"{reverse('node_try', args=[slug])}?run={run.id}")
    return TemplateResponse(
        request, "nodes/try.html#answer", _context(run.id, slug, run, Part(at=0))
    )


@never_cache
@require_safe
def node_try_part(request: Request, slug: str, run_id: str) -> HttpResponse:
    """Return what came since byte ``at``, or 204. The page names the phase that it shows."""
    if not (_ID.fullmatch(run_id) and _NUMBER.fullmatch(at := request.GET.get("at", ""))):
        raise Http404("There is no such try.")
    shown = _shown_phase(request)
    watch([slug])
    try:
        run = read_run(run_id, user=request.user.pk, node=slug)
        part = read_part(run, at=int(at), now=timezone.now()) if run else over()
        phase = part.phase or ("waiting" if shown == AWAY else shown)
    except StoreDown:
        run, part, phase = None, Part(at=int(at)), AWAY
    if not part.lines and phase == shown:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    context = _context(run_id, slug, run, part, phase=phase)
    return TemplateResponse(request, "nodes/try.html#part", {**context, "is_news": phase != shown})


@button("node_try")
def node_try_stop(request: Request, slug: str, run_id: str) -> HttpResponse:
    """Leave an answer; the page hears of its end as of any other."""
    _stop(request, slug, run_id)
    if request.htmx:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    return redirect("node_try", slug)


def _ask(request: Request, form: TryForm, slug: str) -> Run | None:
    _stop(request, slug, request.POST.get("before", ""))
    try:
        return trying.ask(
            user=request.user.pk,
            installed=form.cleaned_data["model"],
            prompt=form.cleaned_data["prompt"],
            now=timezone.now(),
        )
    except LabDashError as error:
        form.refuse(error)
        return None


def _shown_phase(request: Request) -> str:
    shown = request.GET.get("phase", "")
    return shown if shown in PHASES else PHASES[0]


def _stop(request: Request, slug: str, run_id: str) -> None:
    """Stop a try of this user; where the store is away, it ends by itself."""
    try:
        run = read_run(run_id, user=request.user.pk, node=slug)
        if run is not None:
            trying.stop(run)
    except StoreDown:
        return


def _refused(request: Request, node: Node, form: TryForm) -> HttpResponse:
    reason = first_error(form)
    if request.htmx.target == TARGET:
        template, context = "nodes/try.html#refused", {"reason": reason}
        return TemplateResponse(request, template, context, status=422)
    response = _page(request, node, form, reason=reason)
    response.status_code = 422
    return response


def _answer(request: Request, slug: str, run_id: str) -> dict[str, object]:
    """Return what a page that is loaded anew shows of a try."""
    try:
        run = read_run(run_id, user=request.user.pk, node=slug)
        part = read_part(run, at=0, now=timezone.now()) if run else over()
    except StoreDown:
        return {"reason": STORE_AWAY}
    return _context(run_id, slug, run, part, phase=part.phase or "waiting")


def _context(
    run_id: str, slug: str, run: Run | None, part: Part, *, phase: str = "waiting"
) -> dict[str, object]:
    """``key`` tells the elements of one try from those of the next on the same page."""
    return {
        "run_id": run_id,
        "key": run_id[:8],
        "slug": slug,
        "run": run,
        "part": part,
        "phase": phase,
        "verdict": judge(part.end) if part.end else None,
    }


def _page(request: Request, node: Node, form: TryForm, **context: object) -> HttpResponse:
    now = timezone.now()
    values = {
        "title": f"Try {node.slug} · LabDash",
        "node": node,
        "form": form,
        "choices": read_choices(node, now=now),
        "cloud": cloud_names(node),
        "chosen": str(form["model"].value() or ""),
        "minutes": int(MOST_S // 60),
        "tokens": MOST_TOKENS,
    }
    return TemplateResponse(request, "nodes/try.html", {**values, **context})
