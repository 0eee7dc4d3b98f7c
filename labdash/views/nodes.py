"""The machines: a table, a page for each, and the form for one that is only an address."""

from collections.abc import Callable

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from labdash.domain import nodes as domain
from labdash.domain.errors import LabDashError
from labdash.forms import AgentlessNodeForm
from labdash.models import Node
from labdash.queries.history import SCALES
from labdash.queries.nodes import NodePage, read_node, read_nodes, span_of
from labdash.views.http import Fragment, Request, button, done, fragment, live_page, posted, refused


@require_safe
def nodes(request: Request) -> HttpResponse:
    """Show all nodes as a table."""
    seen = read_nodes(now=timezone.now())
    rows = fragment("nodes/list.html#rows", "rows", cards=seen.cards, models=seen.models)
    return live_page(
        request,
        "nodes/list.html",
        [rows],
        title="Nodes · LabDash",
        lab=seen.lab,
        problems=seen.problems,
    )


@require_safe
def node_detail(request: Request, slug: str) -> HttpResponse:
    """Show all that is known of one node."""
    seen = read_node(slug, span_of(request.GET.get("span")), now=timezone.now())
    if seen is None:
        raise Http404(f"There is no node named {slug}.")
    return live_page(
        request,
        "nodes/detail.html",
        fragments(seen),
        title=f"{slug} · LabDash",
        lab=seen.lab,
        problems=seen.problems,
        node=seen.card.view.node,
    )


def fragments(seen: NodePage) -> list[Fragment]:
    """Render all that may change while the page of a node is open."""
    template, card, now = "nodes/detail.html", seen.card, seen.lab.now
    return [
        fragment(f"{template}#state", "state", card=card, now=now),
        fragment(f"{template}#gpus", "gpus", card=card),
        fragment(f"{template}#processes", "processes", card=card),
        fragment(f"{template}#history", "history", seen=seen, spans=SCALES.items()),
        fragment(f"{template}#instances", "instances", instances=seen.instances, now=now),
        fragment(f"{template}#loads", "loads", loads=seen.loads, now=now),
        fragment(f"{template}#jobs", "jobs", jobs=seen.jobs, now=now),
    ]


@button("node_detail")
def node_refresh(request: Request, slug: str) -> HttpResponse:
    """Ask a node for all that is installed on it."""
    text = f"Asked {slug} for its models. What is new shows up by itself."
    return _act(request, slug, domain.refresh_inventory, text)


@button("node_detail")
def node_pause(request: Request, slug: str) -> HttpResponse:
    """Start no new work on a node."""
    return _act(request, slug, domain.pause_node)


@button("node_detail")
def node_resume(request: Request, slug: str) -> HttpResponse:
    """Let a node begin new work again."""
    return _act(request, slug, domain.resume_node)


def _act(request: Request, slug: str, verb: Callable[..., None], text: str = "") -> HttpResponse:
    node = get_object_or_404(Node, slug=slug)
    try:
        verb(node=node)
    except LabDashError as error:
        return refused(request, error, default=reverse("node_detail", args=[slug]))
    return done(request, text, default=reverse("node_detail", args=[slug]))


@require_http_methods(["GET", "HEAD", "POST"])
def node_new(request: Request) -> HttpResponse:
    """Add a machine that is only an Ollama address; the hub serves it."""
    # The page of joining sends a Mac here with what it knows of it.
    told = {name: request.GET[name] for name in ("slug", "kind", "url") if name in request.GET}
    form = AgentlessNodeForm(posted(request), initial=told)
    if form.is_valid() and (node := _add(form)):
        messages.success(request, f"{node.slug} is added. It turns green when it answers.")
        return redirect("node_detail", node.slug)
    status = 422 if form.is_bound else 200
    return TemplateResponse(request, "nodes/new.html", {"form": form}, status=status)


def _add(form: AgentlessNodeForm) -> Node | None:
    data = form.cleaned_data
    try:
        return domain.add_node(
            slug=data["slug"],
            kind=data["kind"],
            urls=[data["url"]],
            agentless=True,
            ram_bytes=form.ram_bytes(),
            gpus=form.gpus(),
        )
    except LabDashError as error:
        form.refuse(error, "slug")
        return None
