"""Adding a machine: its name, and then the line to run on it."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from labdash.domain import joining, nodes
from labdash.domain.errors import LabDashError
from labdash.forms import MachineForm
from labdash.models import Node
from labdash.queries.joining import JoinLines, join_lines, read_join
from labdash.queries.problems import find_problems
from labdash.views.http import Request, by_https, fragment, is_poll, live_page, posted

# Where Ollama listens on the machine itself, unless its joining says otherwise.
OLLAMA_URL = "http://127.0.0.1:11434"


@require_http_methods(["GET", "HEAD", "POST"])
def machine_new(request: Request) -> HttpResponse:
    """Add a machine that will join by a line."""
    # The page that finds machines sends the name of one here.
    form = MachineForm(posted(request), initial={"slug": request.GET.get("slug", "")})
    if form.is_valid():
        try:
            node = nodes.add_node(slug=form.cleaned_data["slug"], urls=[OLLAMA_URL])
        except LabDashError as error:
            form.refuse(error, "slug")
        else:
            return show_line(request, node)
    status = 422 if form.is_bound else 200
    return TemplateResponse(request, "nodes/machine.html", {"form": form}, status=status)


def show_line(request: Request, node: Node) -> HttpResponse:
    """Make a new line for a node and send the browser where it is shown, once."""
    try:
        joining.leave_token(request.session, node=node)
    except LabDashError as error:
        messages.error(request, str(error))
    return redirect("node_join", node.slug)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def node_join(request: Request, slug: str) -> HttpResponse:
    """Show the line of a machine that was just added, and turn green when it reports."""
    if request.method == "POST":
        return show_line(request, get_object_or_404(Node, slug=slug))
    seen = read_join(slug, now=timezone.now())
    if seen is None:
        raise Http404(f"There is no node named {slug}.")
    return live_page(
        request,
        "nodes/join.html",
        [fragment("nodes/join.html#state", "state", node=seen.view, door=seen.door)],
        title=f"Join {slug} · LabDash",
        lab=seen.lab,
        problems=find_problems(seen.lab),
        node=seen.view.node,
        lines=_lines(request, slug),
        by_https=by_https(request),
    )


def _lines(request: Request, slug: str) -> JoinLines | None:
    """Return the line that waits for this node; a page loaded again shows none.

    What a page that is still open asks each second must not take it away.
    """
    if is_poll(request) or request.method == "HEAD":
        return None
    token = joining.take_token(request.session, slug=slug)
    return join_lines(token, asked_by=request.get_host()) if token else None
